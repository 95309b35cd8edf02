-- Retractions (XEP-0424, XEP-0425): a tombstone for the journal, which names a message. Whether there is such a message
-- of this author, the readers of the archive find out.

local xmlns_retract = "urn:xmpp:message-retract:1";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_moderate = "urn:xmpp:message-moderate:1";
local xmlns_occupant_id = "urn:xmpp:occupant-id:0";

-- Bytes, within the characters of docs/event.schema.json.
local MAX_ID = 1023;
local MAX_REASON = 2048;

local function is_id(text)
	return text ~= nil and text ~= "" and #text <= MAX_ID and not text:find("%c");
end

local function occupant_id_of(element)
	local child = element:get_child("occupant-id", xmlns_occupant_id);
	local id = child and child.attr.id;
	return is_id(id) and id or "";
end

-- Returns a reason in one line; nil if it is too long.
local function reason_of(element)
	local reason = (element:get_child_text("reason") or ""):gsub("%c+", " ");
	return #reason <= MAX_REASON and reason or nil;
end

-- Returns nil unless the message is a retraction.
--   direction: "in" if the owner received it; its author has to be the author of what it retracts
local function tombstone_of(stanza, owner, peer, peer_resource, direction)
	local retract = stanza:get_child("retract", xmlns_retract);
	if not retract or stanza.attr.type == "error" or not is_id(retract.attr.id) then return nil; end
	-- The occupants of a room share its bare JID.
	local is_private = direction == "in" and peer_resource and stanza:get_child("x", xmlns_muc_user);
	return {
		owner = owner, peer = peer, direction = direction, message_id = retract.attr.id;
		peer_resource = is_private and peer_resource or "", occupant_id = is_private and occupant_id_of(stanza) or "";
		by = direction == "out" and owner or is_private and peer.."/"..peer_resource or peer;
		retraction_id = is_id(stanza.attr.id) and stanza.attr.id or "";
	};
end

-- Returns nil unless a room's message retracts one of its author, or the room itself says that a moderator did.
--   open: returns the position of an id in the room's archive
local function tombstone_of_room(stanza, room, open)
	local retract = stanza:get_child("retract", xmlns_retract);
	local target = retract and is_id(retract.attr.id) and open(room.jid, retract.attr.id);
	if not target or target <= 0 then return nil; end
	-- An occupant's messages never come from the room's bare JID.
	local moderated = stanza.attr.from == room.jid and retract:get_child("moderated", xmlns_moderate) or nil;
	local author = occupant_id_of(stanza);
	if not moderated and (stanza.attr.from == room.jid or author == "") then return nil; end
	return {
		owner = room.jid, peer = room.jid, direction = "in", message_id = "", peer_resource = "", target = target;
		occupant_id = moderated and "" or author, moderated = moderated ~= nil;
		by = moderated and (moderated.attr.by or "") or not moderated and stanza.attr.from;
		by_occupant_id = moderated and occupant_id_of(moderated) or author;
		reason = moderated and reason_of(retract) or "";
		retraction_id = is_id(stanza.attr.id) and stanza.attr.id or "";
	};
end

return { tombstone_of = tombstone_of, tombstone_of_room = tombstone_of_room, reason_of = reason_of };
