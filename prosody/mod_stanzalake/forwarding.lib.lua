-- Forwarding: carries users' MAM iqs to the query components, and the answers to the sessions that asked
-- (docs/protocol.md).

local base64 = require "util.encodings".base64.encode;
local encode_json = require "util.json".encode;
local new_id = require "util.id".medium;
local it = require "util.iterators";
local jid = require "util.jid";
local st = require "util.stanza";
local now = require "util.time".now;

local answers = module:require "answers";
local deliveries = module:require "delivery";
local displayed = module:require "displayed";
local event = module:require "event";
local frames = module:require "frames";
local inbox_rooms = module:require "inbox_rooms";
local pages = module:require "pages";
local stanzas = module:require "stanzas";
local turns = module:require "turns";
local unread = module:require "unread";

local full_sessions, hosts = prosody.full_sessions, prosody.hosts;

local xmlns_inbox = "urn:xmpp:inbox:1";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_rsm = "http://jabber.org/protocol/rsm";
local xmlns_query = "urn:stanzalake:query:1";

-- Bytes of one iq and of its id: two full lists of preferences fit.
local MAX_IQ = 128 * 1024;
-- Bytes of an iq for the inbox, which travels with what the account has displayed.
local MAX_INBOX_IQ = 16 * 1024;
-- Seconds between two looks whether an asker has read its pages.
local LOOK = 0.2;

local forwarding_mt = {};
forwarding_mt.__index = forwarding_mt;

local function refusal(request)
	return st.error_reply(request.iq, "cancel", "service-unavailable");
end

local function timeout(request)
	return st.error_reply(request.iq, "wait", "remote-server-timeout");
end

local function busy(request)
	return st.error_reply(request.iq, "wait", "resource-constraint");
end

-- Errors by the reason for a missing answer; any other reason is logged.
local errors = { timeout = timeout, busy = busy };

local function text_of(stanza)
	stanza.attr.xmlns = "jabber:client";
	local text = event.text_of(stanza);
	stanza.attr.xmlns = nil;
	return text;
end

-- Whether an iq may change the owner's state: preferences, or the first request under smart archiving.
local function change_of(stanza)
	local name, kind = stanza.tags[1].name, stanza.attr.type;
	if name == "prefs" and kind == "set" then return "preferences"; end
	return name ~= "metadata" and "activation" or nil;
end

-- Whether the requesting session exists, perhaps hibernating. A later session may have the same full JID. Askers of
-- other servers and of components have no session here.
local function is_there(request)
	return not request.is_local or full_sessions[request.asker] == request.origin;
end

local function send(request, stanza)
	if request.is_local then return request.origin.send(stanza); end
	module:send(stanza);
end

-- A hibernating session can be resumed only while its queue holds everything that it missed (XEP-0198 §5).
local function has_room(request, count, limit)
	local session = request.is_local and request.origin;
	local queue = session and session.hibernating and session.outgoing_stanza_queue;
	return not queue or queue:count_unacked() + count <= limit;
end

-- Returns whose share of the archive an account takes: its own, or that of its server if that is another one.
local function group_of(account)
	local domain = jid.host(account);
	return hosts[domain] and account or domain;
end

-- Whether an iq answers this request.
local function answers_request(iq, request)
	local from, kind = iq.attr.from, iq.attr.type;
	return iq.name == "iq" and iq.attr.id == request.iq.attr.id and iq.attr.to == request.asker
		and (from == nil or from == request.owner)
		and (kind == "error" or kind == "result" and #iq.tags <= 1);
end

-- A client cannot catch up by a page that may lack messages.
local function is_stable_page(iq)
	local fin = iq.attr.type == "result" and iq:get_child("fin", xmlns_mam);
	return fin and fin.attr.stable ~= "false";
end

-- Returns the frames of a request.
--   kind: "request" for a user's iq, "state" for an owner's state
local function text_of_request(kind, request, stable, watermarks)
	local header = encode_json {
		owner = request.owner, asker = request.asker, id = request.iq and request.iq.attr.id, stable = stable;
		watermarks = watermarks, newest = request.newest, state = request.tracked, room = request.room;
		server = request.group ~= request.account and request.group or nil;
		displayed = request.displayed, rooms = request.listed, anchors = request.anchors;
	};
	local text = frames.write(kind, request.position, header);
	return request.text and text..frames.write("iq", 0, request.text) or text;
end

local function payload_of(text)
	return { "<request xmlns='"..xmlns_query.."'>", base64(text), "</request>" };
end

-- Sends a request to a component.
--   answered: called once, with the opened answer, which is to be closed, or with nil and the reason
function forwarding_mt:ask(text, answered)
	local component, answer = self.query:pick(), answers.new(self.undelivered);
	if not component then return answered(nil, "away"); end
	local function take(stanza)
		local element = stanza:get_child("answer", xmlns_query);
		local ok, err = nil, "wrong reply";
		if element then ok, err = answer:add(element); end
		return not ok and err or nil;
	end
	self.query:request(component, payload_of(text), self.query_timeout, function (reply, why)
		local opened;
		why = why or reply.attr.type == "error" and "an error" or take(reply);
		if not why then opened, why = answer:open(); end
		if not opened then answer:close(); end
		answered(opened, why);
	end, take);
end

-- Reports the outcome of a request: the owner's state, false if it was certainly not changed, nil if unknown.
function forwarding_mt:settle(request, state)
	if not request.tracked then return; end
	request.tracked = nil;
	self.preferences:settled(request.owner, request.position, state);
end

-- Ends a request that has its turn.
function forwarding_mt:finish(request, answer)
	self:settle(request);
	if is_there(request) and not request.answered then send(request, answer); end
	self.turns:finish(request.account);
end

-- Returns the outcome of a request that failed. A temporary error leaves open whether the change was made, and an
-- archive is activated before its page turns out not to exist.
local function state_of_error(iq, change)
	local kind, condition = iq:get_error();
	if change == "activation" or kind == "wait" or condition == "internal-server-error" then return nil; end
	return false;
end

-- Delivers a page to its session, some messages at a time, and then the answer to the iq.
function forwarding_mt:deliver(request, opened, iq)
	local page = self.pages:open(request, opened.messages);
	local function step()
		local left = page:left();
		if left == 0 or not is_there(request) then return false; end
		if not has_room(request, left + 1, self.max_queue) then
			iq = timeout(request);
			return false;
		end
		page:send_some();
		return true;
	end
	self.delivery:add(request.is_local and request.origin or request.asker, step, function (err)
		opened:close();
		if err then
			module:log("error", "A page for %s was not delivered: %s", request.asker, err);
			iq = refusal(request);
		end
		-- mod_offline then withholds what the account's own archive has.
		if not request.room and is_there(request) and is_stable_page(iq) then request.origin.mam_requested = true; end
		self:finish(request, iq);
	end);
end

function forwarding_mt:answered(request, opened, why)
	local iq = opened and opened.iq and self.parser:parse(opened.iq);
	if not iq or not answers_request(iq, request) then
		if opened then opened:close(); end
		if why == "away" then self:settle(request, false); end
		if errors[why] then return self:finish(request, errors[why](request)); end
		module:log("warn", "A query was not answered properly: %s", why or "wrong reply");
		return self:finish(request, refusal(request));
	end
	if iq.attr.type == "error" then
		self:settle(request, state_of_error(iq, request.change));
	else
		self:settle(request, opened.state);
	end
	self:deliver(request, opened, iq);
end

-- Whether a request that has its turn begins later: its asker has not read the pages before.
function forwarding_mt:postpones(request)
	if not unread.is_behind(request) then return false; end
	self.postponed[request] = true;
	module:add_timer(LOOK, function ()
		if self.postponed[request] then self:begin(request); end
	end);
	return true;
end

-- Starts a request that has its turn.
function forwarding_mt:begin(request)
	self.postponed[request] = nil;
	local is_over = self.closed or request.answered or not is_there(request);
	if not is_over and self:postpones(request) then return; end
	request.timer:stop();
	if is_over then
		self:settle(request, false);
		return self:finish(request, refusal(request));
	end
	if not request.inbox then return self:hand_on(request); end
	self:add_rooms(request, function ()
		if self.closed or not is_there(request) then return self:finish(request, refusal(request)); end
		self:hand_on(request);
	end);
end

-- Adds to a request for the inbox what the account has displayed, and the rooms that belong into it.
function forwarding_mt:add_rooms(request, added)
	local own, of_rooms = displayed.read(request.owner);
	request.displayed = own;
	inbox_rooms.collect(request, of_rooms, function (entries)
		request.rooms = {};
		for _, entry in ipairs(entries) do request.rooms[entry.id] = entry; end
		request.listed, request.anchors = inbox_rooms.format(entries, request.inbox.ends, self.open);
		added();
	end);
end

-- Passes a request that has its turn on to a query component.
function forwarding_mt:hand_on(request)
	-- Now, as the request waits for the lines there are now: a later bound would promise more.
	request.newest = self.sender:newest_position(request.owner);
	self.sender:hold(request.owner, self.freshness_timeout, function (stable, watermarks)
		if self.closed then return self:finish(request, refusal(request)); end
		local text = text_of_request("request", request, stable, watermarks);
		request.text = nil;
		self:ask(text, function (...) self:answered(request, ...); end);
	end);
end

-- Ends a request that has waited too long for its turn.
function forwarding_mt:expire(request)
	request.answered = true;
	self:settle(request, false);
	if is_there(request) then send(request, timeout(request)); end
end

-- Returns a request that may wait for its turn, or nil with the type and condition of an error.
function forwarding_mt:new_request(origin, stanza, owner, room)
	local account, text = jid.bare(stanza.attr.from), text_of(stanza);
	local group = group_of(account);
	local payload = stanza.tags[1];
	local inbox = payload.attr.xmlns == xmlns_inbox and inbox_rooms.parse(payload) or nil;
	-- Its id travels once more, outside of it.
	local bytes = #text + #encode_json(stanza.attr.id);
	if bytes > (inbox and MAX_INBOX_IQ or MAX_IQ) then return nil, "modify", "policy-violation"; end
	if not self.turns:has_room(account, #text, group) then return nil, "wait", "resource-constraint"; end
	return {
		origin = origin, is_local = origin.type == "c2s", owner = owner, asker = stanza.attr.from;
		account = account, group = group, room = room, inbox = inbox, text = text, position = self.sequence:next(owner);
		-- Without children, which take many times the memory of their text.
		iq = st.clone(stanza, true);
	};
end

-- Announces a request that may change the owner's state. Returns false if that cannot be stored: then it is refused.
function forwarding_mt:track(request, change)
	if not change then return true; end
	local tracked = self.preferences:pending(request.owner, request.position, change);
	request.tracked, request.change = tracked or nil, change;
	return tracked ~= nil;
end

-- Forwards a request, or answers with an error.
--   owner: whose archive it is about
--   room: the asker's rights, if that is a room (room_access.lib.lua)
function forwarding_mt:forward(origin, stanza, owner, room)
	local request, kind, condition = self:new_request(origin, stanza, owner, room);
	if not request then
		origin.send(st.error_reply(stanza, kind, condition));
		return true;
	end
	if not self:track(request, not room and change_of(stanza) or nil) then
		origin.send(st.error_reply(stanza, "wait", "resource-constraint"));
		return true;
	end
	request.timer = module:add_timer(self.query_timeout, function () self:expire(request); end);
	self.turns:add(request.account, #request.text, function () self:begin(request); end, request.group);
	return true;
end

-- Requests an owner's state.
--   answered: called once, with the state, or with nil and the reason, see ask
function forwarding_mt:ask_state(owner, answered)
	local request = { owner = owner, asker = module.host, position = self.sequence:next(owner), tracked = true };
	-- The erasure of an account may still be in the journal.
	self.sender:hold_states(self.freshness_timeout, function (stable, watermarks)
		if not stable or self.closed then return answered(nil, "unstable"); end
		self:ask(text_of_request("state", request, true, watermarks), function (opened, why)
			if opened then opened:close(); end
			answered(opened and opened.state, why);
		end);
	end);
end

-- Requests something of an archive for the host itself.
--   request: with iq, owner, asker
--   answered: called once, with the result, the messages of its page, whether they are all there were, and their
--     positions; or with nil
function forwarding_mt:ask_archive(request, answered)
	local owner = request.owner;
	request.position, request.text = self.sequence:next(owner), text_of(request.iq:reset());
	request.newest = self.sender:newest_position(owner);
	self.sender:hold(owner, self.freshness_timeout, function (stable, watermarks)
		if self.closed then return answered(nil); end
		self:ask(text_of_request("request", request, stable, watermarks), function (opened)
			local reply = opened and opened.iq and self.parser:parse(opened.iq);
			local is_answer = reply and answers_request(reply, request) and reply.attr.type == "result";
			local messages, positions;
			if opened then messages, positions = self.pages:stanzas_of(request, opened.messages); end
			if opened then opened:close(); end
			if not is_answer then return answered(nil); end
			answered(reply, messages, stable and request.newest == self.sender:newest_position(owner), positions);
		end);
	end);
end

-- Requests the newest messages of a room, in the room's own name.
--   answered: called once, with stanzas that hold a result each, oldest first, or with nil
function forwarding_mt:ask_newest(owner, limit, answered)
	local iq = st.iq({ type = "set", id = new_id(), from = owner, to = owner })
		:tag("query", { xmlns = xmlns_mam }):tag("set", { xmlns = xmlns_rsm })
		:text_tag("max", ("%d"):format(limit)):text_tag("before", "");
	-- Nobody's real JID is part of a room's history.
	local rights = { affiliation = "none", whois = "moderators", moderator = false };
	self:ask_archive({ owner = owner, asker = owner, iq = iq, room = rights }, function (reply, messages)
		answered(reply and messages);
	end);
end

-- Requests the metadata of an account's archive.
--   answered: called once, with the element and whether it names the last message there is, or with nil
function forwarding_mt:ask_metadata(owner, answered)
	-- The session has no resource yet.
	local asker = owner.."/"..new_id();
	local iq = st.iq({ type = "get", id = new_id(), from = asker, to = owner }):tag("metadata", { xmlns = xmlns_mam });
	self:ask_archive({ owner = owner, asker = asker, iq = iq }, function (reply, _, is_current)
		answered(reply and reply:get_child("metadata", xmlns_mam), is_current);
	end);
end

function forwarding_mt:on_part(stanza)
	if not stanza:get_child("answer", xmlns_query) then return; end
	self.query:on_message(stanza);
	return true;
end

-- Forwards accounts' requests to their own archives.
--   open: returns the position of an id in its owner's archive, nil for any other id
function forwarding_mt:serve_accounts(open)
	self.open = open;
	local function forward(data)
		local origin, stanza = data.origin, data.stanza;
		if origin.type == "c2s" then return self:forward(origin, stanza, jid.bare(stanza.attr.from)); end
	end
	for _, name in ipairs { "query", "prefs", "metadata" } do
		module:hook("iq/self/"..xmlns_mam..":"..name, forward);
	end
	module:hook("iq-get/self/"..xmlns_inbox..":inbox", forward);
end

--   on_connect: called whenever a query component connects
function forwarding_mt:start(on_connect)
	module:hook("message/host", function (data) return self:on_part(data.stanza); end, 1);
	self.query:start(on_connect);
end

-- Ends all requests before the module is unloaded.
function forwarding_mt:close()
	self.closed = true;
	for _, request in ipairs(it.to_array(it.keys(self.postponed))) do self:begin(request); end
	self.query:close();
	self.delivery:close();
end

--   query: the query components
--   options: freshness_timeout, query_timeout (seconds)
--   preferences: notified of requests that may change an owner's state. Its methods:
--     pending(owner, position, change): called before a request is forwarded; change is "preferences" or
--       "activation"; returns whether to report the outcome, or nil if it cannot be stored
--     settled(owner, position, state): called with the outcome, see settle; a state has activated, always, never,
--       position, and default unless the server's is in force
local function new(sender, sequence, query, options, preferences)
	local parser = stanzas.new();
	return setmetatable({
		sender = sender, sequence = sequence, query = query, preferences = preferences;
		freshness_timeout = options.freshness_timeout, query_timeout = options.query_timeout;
		undelivered = { bytes = 0 }, postponed = {};
		turns = turns.new(), parser = parser, pages = pages.new(parser), delivery = deliveries.new(now, function (...)
			return module:add_timer(...);
		end);
		max_queue = module:get_option_number("smacks_max_queue_size", 500);
	}, forwarding_mt);
end

return { new = new };
