-- The tap: writes each message that may be kept to the journal, once for each archive that it belongs to, and announces
-- the id of one that will be kept on the copy that goes on. To Prosody, any other message is not archived.

local rostermanager = require "core.rostermanager";
local user_exists = require "core.usermanager".user_exists;
local jid = require "util.jid";

local copies = module:require "copies";
local eligible = module:require "eligibility".eligible;
local ids = module:require "stanza_ids";
local tombstone_of = module:require "retraction".tombstone_of;
local verdict_of = module:require "verdict".verdict;

local host = module.host;
local bare_sessions = prosody.bare_sessions;
local get_handlers = prosody.hosts[host].events.get_handlers;

local xmlns_mam = "urn:xmpp:mam:2";

local KINDS = { chat = "chat", error = "error", groupchat = "groupchat", headline = "headline" };

local tap_mt = {};
tap_mt.__index = tap_mt;

-- A retraction holds for older messages, also where the policy keeps the message that brings it out of the archive.
function tap_mt:retract(stanza, owner, peer, peer_resource, direction)
	local tombstone = tombstone_of(stanza, owner, peer, peer_resource, direction);
	if not tombstone then return; end
	tombstone.position = self.sequence:next(owner);
	self.recorder:write_tombstone(tombstone);
end

local function is_contact(user, peer)
	return rostermanager.load_roster(user, host)[peer] ~= nil;
end

-- Asking the account store would cost a read for each message; whoever has a session exists.
local function exists(user, owner)
	return bare_sessions[owner] or user_exists(user, host);
end

local function on_should_store(data)
	local should, why = eligible(data.stanza);
	data.reason = why;
	return should;
end

-- Asks other modules only if there are any: an event leaves a table behind.
local function should_store(data)
	local handlers = get_handlers("archive-should-store");
	if #handlers == 1 then return eligible(data.stanza); end
	return module:fire_event("archive-should-store", { stanza = data.stanza, session = data.origin });
end

local function is_eligible(data, user, owner, peer)
	if data.stanza:get_child("result", xmlns_mam) then return false; end
	-- Nameprep lets spaces through, an event's JIDs have none.
	if not peer or peer:find("%s") then return false; end
	return should_store(data) and exists(user, owner);
end

-- Whether an address is the account's own, or one of its sessions'; cheaper than to split it.
local function is_of(address, owner)
	return address and owner and (address == owner or address:sub(1, #owner + 1) == owner.."/");
end

local function is_to_self(stanza)
	local to, from = stanza.attr.to, stanza.attr.from;
	return not to or is_of(from, jid.bare(to));
end

-- Whether the account has a session besides the one that sent the message, if it was one.
local function has_other_sessions(owner, origin)
	local account = bare_sessions[owner];
	if not account then return false; end
	local resource, session = next(account.sessions);
	return session ~= origin or next(account.sessions, resource) ~= nil;
end

-- Whether a session gets the message with this owner's id: of the sender's own, only others do, as carbons.
local function is_shown(data, owner, direction)
	local to = data.stanza.attr.to;
	return direction == "in" or not to or is_of(to, owner) or has_other_sessions(owner, data.origin);
end

-- Tells other handlers, also by a copy with the id. An id that nobody looks at is not made: it costs two HMACs.
function tap_mt:announce(data, user, owner, position, direction)
	local stanza, id = data.stanza, nil;
	if is_shown(data, owner, direction) then
		id = self.seal(owner, position);
		data.stanza = ids.copy_of(stanza, ids.stanza_id(owner, id));
	end
	if not get_handlers("archive-message-added") then return; end
	local added = { origin = data.origin, stanza = stanza, for_user = user, id = id };
	if not id then
		setmetatable(added, { __index = function (_, name)
			return name == "id" and self.seal(owner, position) or nil;
		end });
	end
	module:fire_event("archive-message-added", added);
end

-- Used again for every message: what tables leave behind costs Prosody more than the work. Between its first
-- line and its last use nothing is called that could archive another message.
local record = {};

-- Keeps an eligible message, unless it is certain that the processor would drop it. Where that cannot be told, the
-- processor decides, and nothing is announced.
function tap_mt:keep(data, user, other, direction, peer, peer_resource)
	local stanza, owner = data.stanza, user.."@"..host;
	local contact, state = is_contact(user, peer), self.preferences:get(owner);
	local verdict = verdict_of(stanza, peer, other, contact, state, self.server);
	if verdict == "no" then return self.recorder.count_filtered(1); end
	-- Prosody takes `to` off a message to the sender's own account.
	local text = self.recorder:text_of(stanza, stanza.attr.to or owner);
	if not text then return; end
	local key = direction == "in" and copies.key_of(stanza, owner) or nil;
	local original = key and self.copies:find(key, stanza.attr.to);
	if original then
		if original.is_announced then self:announce(data, user, owner, original.position, direction); end
		return;
	end
	local position = self.sequence:next(owner);
	record.position, record.owner, record.peer, record.peer_resource = position, owner, peer, peer_resource or "";
	record.direction, record.kind = direction, KINDS[stanza.attr.type] or "normal";
	record.contact, record.stanza = contact, text;
	if not self.recorder:write(record, owner) then return; end
	if key then self.copies:add(key, stanza.attr.to, position, verdict == "yes"); end
	if verdict == "yes" then self:announce(data, user, owner, position, direction); end
end

-- Archives the message for one owner.
function tap_mt:archive(data, user, other, direction)
	local stanza, owner = data.stanza, user.."@"..host;
	local peer_node, peer_host, peer_resource = jid.split(other);
	local peer = peer_node and peer_node.."@"..peer_host or peer_host;
	if not is_eligible(data, user, owner, peer) then return; end
	self:keep(data, user, other, direction, peer, peer_resource);
	self:retract(stanza, owner, peer, peer_resource, direction);
end

function tap_mt:on_outgoing(data)
	local user = data.origin.username;
	data.stanza = ids.without_ids(data.stanza, user.."@"..host);
	self:archive(data, user, data.stanza.attr.to or data.stanza.attr.from, "out");
end

-- The sender's id never leaves for somebody else (XEP-0313 §3.5).
local function on_leaving(data)
	if not ids.has_ids(data.stanza) or is_to_self(data.stanza) then return; end
	data.stanza = ids.without_ids(data.stanza, data.origin.username.."@"..host);
end

-- What goes to another server is the stanza as it came, not the one that handlers have put in its place.
local function on_remote(data)
	local stanza = data.stanza;
	if stanza.name == "message" and ids.has_ids(stanza) then ids.remove_ids(stanza, jid.bare(stanza.attr.from)); end
end

function tap_mt:on_incoming(data)
	local stanza, from = data.stanza, data.stanza.attr.from;
	local user = jid.node(stanza.attr.to or from);
	if not user then return; end
	local owner = user.."@"..host;
	-- One entry for a message to oneself, made on its way out, when also carbons can carry its id.
	if data.origin.type == "c2s" and is_of(from, owner) then return; end
	data.stanza = ids.without_ids(stanza, owner);
	self:archive(data, user, from, "in");
end

-- Hooks at mod_mam's priorities: after mod_blocklist, before mod_carbons (-0.5) and mod_message (-1).
function tap_mt:start()
	for _, to in ipairs { "bare", "full", "host" } do
		module:hook("pre-message/"..to, function (data) self:on_outgoing(data); end, 0);
		module:hook("pre-message/"..to, on_leaving, -1);
	end
	for _, to in ipairs { "bare", "full" } do
		module:hook("message/"..to, function (data) self:on_incoming(data); end, 0);
	end
	module:hook("route/remote", on_remote, 0);
	module:hook("archive-should-store", on_should_store, -1);
end

--   seal: gives the id of an owner and a position
--   options: policy, smart, exclude_namespaces
local function new(recorder, sequence, seal, preferences, options)
	return setmetatable({
		copies = copies.new(), recorder = recorder, sequence = sequence, seal = seal, preferences = preferences;
		server = { policy = options.policy, smart = options.smart, excluded = options.exclude_namespaces };
	}, tap_mt);
end

return { new = new };
