-- The tap of rooms: writes each message that a room keeps to the journal once, in the room's order, and announces its
-- id to all occupants. The room alone decides, no preferences and no roster do.

local jid = require "util.jid";
local st = require "util.stanza";

local is_unstorable = module:require "eligibility".is_unstorable;
local ids = module:require "stanza_ids";
local is_archived = module:require "room_archiving".is_archived;
local tombstone_of_room = module:require "retraction".tombstone_of_room;
local has_remainder = module:require "verdict".has_remainder;

local xmlns_occupant_id = "urn:xmpp:occupant-id:0";
local xmlns_retract = "urn:xmpp:message-retract:1";
local xmlns_muc = "http://jabber.org/protocol/muc";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

-- Worth keeping besides Prosody's own rule, which stands at -1: these have no body.
local HISTORIC = { { "retract", xmlns_retract }, { "reactions", "urn:xmpp:reactions:0" } };

local tap_mt = {};
tap_mt.__index = tap_mt;

local function is_historic(stanza)
	if is_unstorable(stanza) then return nil; end
	for _, rule in ipairs(HISTORIC) do
		if stanza:get_child(rule[1], rule[2]) then return true; end
	end
end

-- The element by which a room shows the real JID of a message's author (XEP-0045 §7.2.3).
local function identity(room, occupant)
	local affiliation = room:get_affiliation(occupant.bare_jid);
	local role = occupant.role or room:get_default_role(affiliation);
	return st.stanza("x", { xmlns = xmlns_muc_user })
		:tag("item", { affiliation = affiliation or "none", role = role or "none", jid = occupant.bare_jid }):up();
end

-- Returns the message as the archive keeps it: without an identity that its author has made up, and with the real one
-- only in a room that shows it to everybody now (XEP-0313 §6.1.2, §8.4).
local function stored_form(room, stanza, occupant)
	if not occupant then return stanza; end
	local copy = ids.copy_of(stanza);
	copy:remove_children("x", xmlns_muc_user);
	if room:get_whois() == "anyone" then copy:add_direct_child(identity(room, occupant)); end
	return copy;
end

function tap_mt:record_of(room, stanza, occupant, kind)
	local text = self.recorder:text_of(stanza, nil);
	return text and {
		position = self.sequence:next(room.jid), owner = room.jid, peer = room.jid;
		peer_resource = jid.resource(stanza.attr.from) or "", direction = "in", kind = kind, contact = false;
		occupant = occupant and occupant.bare_jid or "", stanza = text;
	};
end

-- Returns whether nothing was ever archived of a room, as far as is known.
function tap_mt:is_empty(room)
	return self.empty[room] or false;
end

function tap_mt:archive(room, stanza)
	if not is_archived(room) then return; end
	-- Absent from a message of the room itself, such as a change of its configuration.
	local occupant = room._occupants[stanza.attr.from];
	local stored = stored_form(room, stanza, occupant);
	if not has_remainder(stored, self.excluded) then return self.recorder.count_filtered(1); end
	local record = self:record_of(room, stored, occupant, "groupchat");
	if record and self.recorder:write(record, room.jid) then
		self.empty[room] = nil;
		stanza:add_direct_child(ids.stanza_id(room.jid, self.seal(room.jid, record.position)));
		self:retract(room, stanza);
	end
end

-- Keeps that an occupant has joined or left, in mod_muc_mam's form. Readers of messages leave it out.
function tap_mt:archive_presence(room, stanza, occupant)
	if not is_archived(room) then return; end
	local record = self:record_of(room, stanza, occupant, "presence");
	if record and self.recorder:write(record, room.jid) then self.empty[room] = nil; end
end

-- Takes a message out of the archive, and out of what the room tells new occupants.
function tap_mt:retract(room, stanza)
	local tombstone = tombstone_of_room(stanza, room, self.open);
	if not tombstone then return; end
	tombstone.position = self.sequence:next(room.jid);
	self.recorder:write_tombstone(tombstone);
	local id = self.seal(room.jid, tombstone.target);
	local history = room._history or {};
	for i = #history, 1, -1 do
		local entry = history[i].stanza;
		local author = entry:get_child("occupant-id", xmlns_occupant_id);
		local is_authors = tombstone.moderated or author and author.attr.id == tombstone.occupant_id;
		if is_authors and ids.id_of(entry, room.jid) == id and not entry:get_child("retract", xmlns_retract) then
			table.remove(history, i);
		end
	end
end

function tap_mt:start_presences()
	module:hook("muc-occupant-joined", function (data)
		local presence = st.presence({ from = data.nick }):tag("x", { xmlns = xmlns_muc });
		self:archive_presence(data.room, presence:reset(), data.occupant);
	end);
	-- Before the last one's leaving destroys the room (0), and its archive with it.
	module:hook("muc-occupant-left", function (data)
		self:archive_presence(data.room, st.presence({ from = data.nick, type = "unavailable" }), data.occupant);
	end, 1);
end

function tap_mt:start()
	if module:get_option_boolean("muc_log_presences", false) then self:start_presences(); end
	module:hook("muc-room-created", function (data) self.empty[data.room] = true; end, 1);
	for _, name in ipairs { "muc-broadcast-message", "muc-private-message" } do
		module:hook(name, function (data) ids.remove_ids(data.stanza, data.room.jid); end, 1);
	end
	module:hook("muc-message-is-historic", function (data)
		return is_archived(data.room) and is_historic(data.stanza) or nil;
	end, 0);
	-- Before the history of the room (-1), so that its copy has the id.
	module:hook("muc-add-history", function (data) self:archive(data.room, data.stanza); end, 0);
end

--   seal: returns the id of an owner and a position
--   open: returns the position of an id in its owner's archive, nil for any other id
--   excluded: namespaces of elements that are not stored, as keys
local function new(recorder, sequence, seal, open, excluded)
	return setmetatable({
		recorder = recorder, sequence = sequence, seal = seal, open = open, excluded = excluded;
		-- Rooms that were created here and of which nothing is archived yet, as keys.
		empty = setmetatable({}, { __mode = "k" });
	}, tap_mt);
end

return { new = new };
