-- Moderation of archived rooms (XEP-0425): a moderator asks the room to retract a message, and the room tells all.
-- The tap of rooms makes a tombstone of what the room tells.

local new_id = require "util.id".medium;
local jid_bare = require "util.jid".bare;
local st = require "util.stanza";

local rights_of = module:require "room_access".rights_of;
local is_archived = module:require "room_archiving".is_archived;
local reason_of = module:require "retraction".reason_of;

local get_room = module:depends "muc".get_room_from_jid;

local xmlns_moderate = "urn:xmpp:message-moderate:1";
local xmlns_occupant_id = "urn:xmpp:occupant-id:0";
local xmlns_retract = "urn:xmpp:message-retract:1";

-- The moderator by nick, as the room may hide the real JID; one who is not in the room stays unnamed.
local function announcement_of(room, id, moderator, reason)
	local nick = room:get_occupant_jid(moderator);
	local occupant = nick and room._occupants[nick];
	local message = st.message({ from = room.jid, type = "groupchat", id = new_id() })
		:tag("retract", { xmlns = xmlns_retract, id = id })
			:tag("moderated", { xmlns = xmlns_moderate, by = nick });
	if occupant then
		message:tag("occupant-id", { xmlns = xmlns_occupant_id, id = room:get_occupant_id(occupant) }):up();
	end
	message:up();
	if reason ~= "" then message:text_tag("reason", reason); end
	return message:reset();
end

-- Returns nothing once the message is retracted, otherwise the type and condition of an error.
local function moderate(room, request, moderator, open)
	local rights, kind, condition = rights_of(room, jid_bare(moderator));
	if not rights then return kind, condition; end
	if not rights.moderator then return "auth", "forbidden"; end
	if not request:get_child("retract", xmlns_retract) then return "cancel", "feature-not-implemented"; end
	local id, reason = request.attr.id, reason_of(request);
	if not reason then return "modify", "not-acceptable"; end
	if not (id and open(room.jid, id)) then return "cancel", "item-not-found"; end
	room:broadcast_message(announcement_of(room, id, moderator, reason));
end

local function on_iq(data, open)
	local origin, stanza = data.origin, data.stanza;
	local room = get_room(stanza.attr.to);
	if room and not is_archived(room) then return nil; end
	local kind, condition = moderate(room, stanza.tags[1], stanza.attr.from, open);
	origin.send(kind and st.error_reply(stanza, kind, condition) or st.reply(stanza));
	return true;
end

--   open: returns the position of an id in the room's archive, nil for any other id
local function start(open)
	module:hook("iq-set/bare/"..xmlns_moderate..":moderate", function (data) return on_iq(data, open); end, 1);
end

return { start = start };
