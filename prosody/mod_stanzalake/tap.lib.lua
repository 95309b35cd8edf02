-- The tap: writes every eligible message to the journal, once for each archive that it belongs to, and
-- announces its id on the copy that goes on.

local rostermanager = require "core.rostermanager";
local user_exists = require "core.usermanager".user_exists;
local jid = require "util.jid";
local st = require "util.stanza";

local event = module:require "event";

local host = module.host;
local bare_sessions = prosody.bare_sessions;

local xmlns_hints = "urn:xmpp:hints";
local xmlns_mam = "urn:xmpp:mam:2";
local xmlns_sid = "urn:xmpp:sid:0";

-- Bytes; an event with a longer stanza is none (docs/event.schema.json).
local MAX_STANZA = 1024 * 1024;
local KINDS = { chat = "chat", error = "error", groupchat = "groupchat", headline = "headline" };

local by_child = {
	{ "store", xmlns_hints, "hint" };
	{ "body", nil, "body" };
	{ "subject", nil, "subject" };
	{ "encryption", "urn:xmpp:eme:0", "encrypted" };
	{ nil, "urn:xmpp:receipts", "receipt" };
	{ nil, "urn:xmpp:chat-markers:0", "marker" };
	{ "x", "jabber:x:conference", "invite" };
	{ nil, "urn:xmpp:jingle-message:0", "jingle call" };
	{ nil, "urn:xmpp:jingle-message:1", "jingle call" };
	{ "retract", "urn:xmpp:message-retract:1", "retraction" };
};

local function eligible_by_content(stanza)
	for _, rule in ipairs(by_child) do
		if stanza:get_child(rule[1], rule[2]) then return true, rule[3]; end
	end
	if stanza:find("{http://jabber.org/protocol/muc#user}x/invite") then return true, "invite"; end
	return false, "default";
end

-- Whether a message is worth archiving, and why: mod_mam's rule, and retractions (XEP-0424 §5).
local function eligible(stanza)
	local kind = stanza.attr.type;
	if kind == "headline" or kind == "groupchat" then return false, kind; end
	-- A bounce comes to the resource that sent the message; other errors answer what the account sent by itself.
	if kind == "error" then return jid.resource(stanza.attr.to) ~= nil, "bounce"; end
	if stanza:get_child("no-store", xmlns_hints) or stanza:get_child("no-permanent-store", xmlns_hints) then
		return false, "hint";
	end
	return eligible_by_content(stanza);
end

-- A copy with attributes and a list of children of its own. It shares the children: nobody changes those.
local function copy_of(stanza)
	local copy = st.clone(stanza, true);
	for _, child in ipairs(stanza) do copy:add_direct_child(child); end
	return copy;
end

local function has_ids(stanza)
	return stanza:get_child("stanza-id", xmlns_sid) ~= nil;
end

-- Removes every stanza-id that claims to be from the owner's archive (XEP-0359 §3, rule 2).
local function without_ids(stanza, owner)
	if not has_ids(stanza) then return stanza; end
	return copy_of(stanza):maptags(function (tag)
		local is_id = tag.name == "stanza-id" and tag.attr.xmlns == xmlns_sid;
		if not (is_id and jid.prep(tag.attr.by) == owner) then return tag; end
	end);
end

-- Cloned, as Prosody checks each character of an element that it makes.
local empty_id = st.stanza("stanza-id", { xmlns = xmlns_sid });

local function stanza_id(owner, id)
	local element = st.clone(empty_id);
	element.attr.by, element.attr.id = owner, id;
	return element;
end

local tap_mt = {};
tap_mt.__index = tap_mt;

-- Says once that the journal refuses events, and once that it takes them again.
function tap_mt:report(trouble)
	if trouble and not self.trouble then
		module:log("error", "Messages are delivered but not archived: %s", trouble);
	elseif self.trouble and not trouble then
		module:log("info", "Messages are archived again");
	end
	self.trouble = trouble;
end

function tap_mt:append(message)
	if #message.stanza > MAX_STANZA then
		return nil, "a message is too large";
	end
	return self.journal:append(event.encode(message));
end

-- Gives whether the message could be written.
function tap_mt:write(message, owner)
	local place, trouble = self:append(message);
	self:report(trouble);
	if not place then
		self.count_drop(1);
		return false;
	end
	self.sender:wrote(owner, place);
	return true;
end

local function is_contact(user, peer)
	return rostermanager.load_roster(user, host)[peer] ~= nil;
end

-- Asking the account store would cost a read for each message; whoever has a session exists.
local function exists(user, owner)
	return bare_sessions[owner] or user_exists(user, host);
end

local function wanted(data, user, owner, peer)
	if data.stanza:get_child("result", xmlns_mam) then return false; end
	-- Nameprep lets spaces through, an event's JIDs have none.
	if not peer or peer:find("%s") then return false; end
	return module:fire_event("archive-should-store", { stanza = data.stanza, session = data.origin })
		and exists(user, owner);
end

-- The stanza as the archive keeps it: Prosody takes `to` off a message to the sender's own account.
local function text_of(stanza, owner)
	local attr = stanza.attr;
	local xmlns, to = attr.xmlns, attr.to;
	attr.xmlns, attr.to = "jabber:client", to or owner;
	local text = event.text_of(stanza);
	attr.xmlns, attr.to = xmlns, to;
	return text;
end

-- Whether an address is the account's own, or one of its sessions'; cheaper than to split it.
local function is_of(address, owner)
	return address and owner and (address == owner or address:sub(1, #owner + 1) == owner.."/");
end

local function is_to_self(stanza)
	local to, from = stanza.attr.to, stanza.attr.from;
	return not to or is_of(from, jid.bare(to));
end

local function has_other_sessions(owner)
	local account = bare_sessions[owner];
	return account and next(account.sessions, next(account.sessions)) ~= nil;
end

-- Whether a session gets the message with this owner's id: of the sender's own, only others do, as carbons.
local function is_shown(stanza, owner, direction)
	local to = stanza.attr.to;
	return direction == "in" or not to or is_of(to, owner) or has_other_sessions(owner);
end

-- Tells other handlers, also by a copy with the id. An id that nobody looks at is not made: it costs two HMACs.
function tap_mt:announce(data, user, owner, position, direction)
	local stanza = data.stanza;
	local shown = is_shown(stanza, owner, direction);
	local id = shown and self.seal(owner, position) or nil;
	local added = { origin = data.origin, stanza = stanza, for_user = user, id = id };
	if shown then
		data.stanza = copy_of(stanza);
		data.stanza:add_direct_child(stanza_id(owner, id));
	else
		setmetatable(added, { __index = function (_, name)
			return name == "id" and self.seal(owner, position) or nil;
		end });
	end
	module:fire_event("archive-message-added", added);
end

-- Used again for every message: what tables leave behind costs Prosody more than the work. Between its first
-- line and its last use nothing is called that could archive another message.
local record = {};

-- Archives the message for one owner.
function tap_mt:archive(data, user, other, direction)
	local stanza, owner = data.stanza, user.."@"..host;
	local peer_node, peer_host, peer_resource = jid.split(other);
	local peer = peer_node and peer_node.."@"..peer_host or peer_host;
	if not wanted(data, user, owner, peer) then return; end
	local contact, text = is_contact(user, peer), text_of(stanza, owner);
	local position = self.sequence:next();
	record.position, record.owner, record.peer, record.peer_resource = position, owner, peer, peer_resource or "";
	record.direction, record.kind = direction, KINDS[stanza.attr.type] or "normal";
	record.contact, record.stanza = contact, text;
	if self:write(record, owner) then self:announce(data, user, owner, position, direction); end
end

function tap_mt:on_outgoing(data)
	local user = data.origin.username;
	data.stanza = without_ids(data.stanza, user.."@"..host);
	self:archive(data, user, data.stanza.attr.to or data.stanza.attr.from, "out");
end

-- The sender's id never leaves for somebody else (XEP-0313 §3.5).
local function on_leaving(data)
	if not has_ids(data.stanza) or is_to_self(data.stanza) then return; end
	data.stanza = without_ids(data.stanza, data.origin.username.."@"..host);
end

function tap_mt:on_incoming(data)
	local stanza, from = data.stanza, data.stanza.attr.from;
	local user = jid.node(stanza.attr.to or from);
	if not user then return; end
	local owner = user.."@"..host;
	-- One entry for a message to oneself, made on its way out, when also carbons can carry its id.
	if data.origin.type == "c2s" and is_of(from, owner) then return; end
	data.stanza = without_ids(stanza, owner);
	self:archive(data, user, from, "in");
end

-- A message that mod_offline did not take is not lost if it is archived: no bounce.
local function on_offline(data)
	local owner = data.username.."@"..host;
	return data.stanza:get_child_with_attr("stanza-id", xmlns_sid, "by", owner) and true or nil;
end

local function on_should_store(data)
	local should, why = eligible(data.stanza);
	data.reason = why;
	return should;
end

-- Hooks at mod_mam's priorities: after mod_blocklist, before mod_carbons (-0.5) and mod_message (-1).
function tap_mt:start()
	for _, to in ipairs { "bare", "full" } do
		module:hook("pre-message/"..to, function (data) self:on_outgoing(data); end, 0);
		module:hook("message/"..to, function (data) self:on_incoming(data); end, 0);
	end
	for _, to in ipairs { "bare", "full", "host" } do
		module:hook("pre-message/"..to, on_leaving, -1);
	end
	module:hook("archive-should-store", on_should_store, -1);
	module:hook("message/offline/handle", on_offline, -2);
end

--   seal: gives the id of an owner and a position
local function new(journal, sequence, seal, sender)
	local count_drop = module:measure("dropped", "counter");
	return setmetatable({
		journal = journal, sequence = sequence, seal = seal, sender = sender, count_drop = count_drop;
	}, tap_mt);
end

return { new = new };
