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

-- Removes every stanza-id that claims to be from the owner's archive (XEP-0359 §3, rule 2).
local function without_ids(stanza, owner)
	if not stanza:get_child("stanza-id", xmlns_sid) then return stanza; end
	return st.clone(stanza):maptags(function (tag)
		local is_id = tag.name == "stanza-id" and tag.attr.xmlns == xmlns_sid;
		if not (is_id and jid.prep(tag.attr.by) == owner) then return tag; end
	end);
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

-- Gives the message's id, or nil if it could not be written.
function tap_mt:record(message)
	local place, trouble = self:append(message);
	self:report(trouble);
	if not place then
		self.count_drop(1);
		return nil;
	end
	self.sender:wrote(message.owner, place);
	return self.seal(message.owner, message.position);
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

-- Archives the message for one owner, and puts a copy with its id into the event for the other handlers.
function tap_mt:archive(data, user, other, direction)
	local stanza = data.stanza;
	local owner, peer = user.."@"..host, jid.bare(other);
	if not wanted(data, user, owner, peer) then return; end
	local copy = st.clone(stanza);
	-- Prosody takes `to` off a message to the sender's own account.
	copy.attr.xmlns, copy.attr.to = "jabber:client", stanza.attr.to or owner;
	local id = self:record {
		position = self.sequence:next(), owner = owner, peer = peer, peer_resource = jid.resource(other) or "";
		direction = direction, kind = KINDS[stanza.attr.type] or "normal", contact = is_contact(user, peer);
		stanza = tostring(copy);
	};
	if not id then return; end
	copy.attr.xmlns, copy.attr.to = nil, stanza.attr.to;
	copy:tag("stanza-id", { xmlns = xmlns_sid, by = owner, id = id }):up();
	data.stanza = copy;
	module:fire_event("archive-message-added", { origin = data.origin, stanza = stanza, for_user = user, id = id });
end

local function is_to_self(stanza)
	return jid.bare(stanza.attr.to or stanza.attr.from) == jid.bare(stanza.attr.from);
end

function tap_mt:on_outgoing(data)
	local user = data.origin.username;
	data.stanza = without_ids(data.stanza, user.."@"..host);
	self:archive(data, user, data.stanza.attr.to or data.stanza.attr.from, "out");
end

-- The sender's id never leaves for somebody else (XEP-0313 §3.5).
local function on_leaving(data)
	if is_to_self(data.stanza) then return; end
	data.stanza = without_ids(data.stanza, data.origin.username.."@"..host);
end

function tap_mt:on_incoming(data)
	local stanza, origin = data.stanza, data.origin;
	-- One entry for a message to oneself, made on its way out, when also carbons can carry its id.
	if origin.type == "c2s" and is_to_self(stanza) then return; end
	local user = jid.node(stanza.attr.to or stanza.attr.from);
	if not user then return; end
	data.stanza = without_ids(stanza, user.."@"..host);
	self:archive(data, user, stanza.attr.from, "in");
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

return { new = new, eligible = eligible };
