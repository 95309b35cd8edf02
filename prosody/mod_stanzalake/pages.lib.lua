-- Pages: the messages of an answer on their way to who asked.

local deferred = module:require "deferred";
local stanzas = module:require "stanzas";

local concat = table.concat;

local xmlns_inbox = "urn:xmpp:inbox:1";
local xmlns_mam = "urn:xmpp:mam:2";

-- Bytes of messages after which the next are sent in another write: a small part of a slice of Prosody's time.
local MAX_WRITE = 48 * 1024;

-- Priority of the filter of XEP-0198 (mod_smacks), which keeps a copy of each stanza.
local COPIES = -999;

-- How a message with a result begins: its own tag, and the beginning of the result's.
local HEAD = "^((<message [^>]*>)<result xmlns=(['\"])urn:xmpp:mam:2%3)";
local END = "</message>";

local function is_addressed(message, request)
	return message.name == "message" and message.attr.to == request.asker and message.attr.from == request.owner;
end

-- Whether a message is a result, or an entry of the inbox, from the request's archive to its session.
local function is_result(message, request)
	return is_addressed(message, request)
		and (message:get_child("result", xmlns_mam) or message:get_child("entry", xmlns_inbox)) ~= nil;
end

local function has_filters(session, kind)
	local filters = session.filters[kind];
	return filters and filters[1] ~= nil;
end

-- Whether a session's only filter of stanzas is that of XEP-0198. While the session hibernates it looks into them, and
-- of what is lost with the session the module completes the copies on its own host alone.
local function has_copies_only(session)
	local filters = session.smacks and not session.hibernating and session.filters["stanzas/out"];
	return filters and #filters == 1 and filters[filters[1]] == COPIES
		and prosody.hosts[session.host].modules.stanzalake ~= nil;
end

-- Whether a session takes texts, several in a write: no filter looks into a stanza, or makes something of each write.
-- A session over BOSH has no rawsend.
local function takes_texts(session)
	if not session.rawsend or has_filters(session, "bytes/out") then return false; end
	return not has_filters(session, "stanzas/out") or has_copies_only(session);
end

-- Sends a message as session.send does, but in the text that it came in: writing it again is half of the work. A filter
-- may keep the message, change it, or put another one in its place.
local function send_text(session, message, text)
	if not session.rawsend then return session.send(message); end
	local children = #message;
	local filtered = session.filter("stanzas/out", message);
	local is_same = rawequal(filtered, message) and #message == children;
	if filtered then session.rawsend(is_same and text or filtered); end
end

local function text_of(messages, number)
	return messages.texts[number]:sub(messages.firsts[number], messages.lasts[number]);
end

local page_mt = {};
page_mt.__index = page_mt;

-- Returns the number of messages that are not sent yet.
function page_mt:left()
	return #self.messages - self.sent;
end

-- Returns how the messages of the page begin, all with the same attributes, and their own tag; false if they begin in
-- another way.
function page_mt:find_head(text)
	local head, tag = text:match(HEAD);
	local message = tag and self.parser:parse(tag..END);
	if not message or not is_addressed(message, self.request) then return false; end
	for name in pairs(message.attr) do
		if name ~= "from" and name ~= "to" then return false; end
	end
	return head, tag;
end

-- Returns what is in a message that is certainly a result for the request: no parser has to make a stanza of it.
function page_mt:plain_content(number)
	local messages = self.messages;
	local text, first, last = messages.texts[number], messages.firsts[number], messages.lasts[number];
	if self.head == nil then self.head, self.tag = self:find_head(text_of(messages, number)); end
	local head = self.head;
	if not head or #head + #END > last - first or text:find(head, first, true) ~= first then return nil; end
	if text:sub(last - #END + 1, last) ~= END then return nil; end
	local content = text:sub(first + #self.tag, last - #END);
	return self.checker:takes(content) and content or nil;
end

-- Passes a message on to the filters, if the session has any.
function page_mt:filter(content)
	local request = self.request;
	if not has_filters(request.origin, "stanzas/out") then return; end
	local message = deferred.message(request.owner, request.asker, content);
	deferred.while_copying(request.origin.filter, "stanzas/out", message);
end

-- Sends the next messages as they came. Returns false if the next one needs a closer look.
function page_mt:send_texts()
	local parts, bytes, number = {}, 0, self.sent + 1;
	while self.messages[number] and bytes < MAX_WRITE do
		local content = self:plain_content(number);
		if not content then break; end
		self:filter(content);
		local count = #parts;
		parts[count + 1], parts[count + 2], parts[count + 3] = self.tag, content, END;
		bytes, number = bytes + #content, number + 1;
	end
	if not parts[1] then return false; end
	self.sent = number - 1;
	self.request.origin.rawsend(concat(parts));
	return true;
end

function page_mt:send(message, text)
	local request = self.request;
	if request.is_local then return send_text(request.origin, message, text); end
	module:send(message);
end

-- Adds the last message of a room to its entry in an inbox. Returns whether it is one.
function page_mt:complete(message)
	local rooms = self.request.rooms;
	local entry = rooms and message:get_child("entry", xmlns_inbox);
	local room = entry and rooms[entry.attr.id];
	if not room or room.jid ~= entry.attr.jid or not room.result then return false; end
	message:add_direct_child(room.result);
	return true;
end

-- Sends the next message, or leaves it out if Prosody cannot parse it.
function page_mt:send_next()
	self.sent = self.sent + 1;
	local text = text_of(self.messages, self.sent);
	local request = self.request;
	local message = self.parser:parse(text);
	if message and is_result(message, request) then
		local is_changed = self:complete(message);
		return self:send(message, is_changed and tostring(message) or text);
	end
	self.count_unreadable(1);
	module:log("error", "A message of %s is left out of a page: Prosody does not take its stanza (position %d)",
		request.owner, self.messages[self.sent]);
end

-- Sends one message at least.
function page_mt:send_some()
	local request = self.request;
	local is_text = request.is_local and takes_texts(request.origin);
	if not is_text or not self:send_texts() then self:send_next(); end
end

local pages_mt = {};
pages_mt.__index = pages_mt;

-- Returns the page that answers a request.
--   messages: as in an opened answer (answers.lib.lua)
function pages_mt:open(request, messages)
	return setmetatable({
		request = request, messages = messages, sent = 0;
		parser = self.parser, checker = self.checker, count_unreadable = self.count_unreadable;
	}, page_mt);
end

-- Returns the messages of a page as stanzas, and their positions.
function pages_mt:stanzas_of(request, messages)
	local found, positions = {}, {};
	for number = 1, #messages do
		local message = self.parser:parse(text_of(messages, number));
		if message and is_result(message, request) then
			local count = #found + 1;
			found[count], positions[count] = message, messages[number];
		end
	end
	return found, positions;
end

--   parser: parses stanzas (stanzas.lib.lua)
local function new(parser)
	return setmetatable({
		parser = parser, checker = stanzas.new_checker();
		count_unreadable = module:measure("unreadable", "counter");
	}, pages_mt);
end

return { new = new };
