-- Retractions between accounts (XEP-0424): a tombstone for the journal, which names a message. Whether there is such a
-- message of this author, the readers of the archive find out.

local xmlns_retract = "urn:xmpp:message-retract:1";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";
local xmlns_occupant_id = "urn:xmpp:occupant-id:0";

-- Bytes, within the characters of docs/event.schema.json.
local MAX_ID = 1023;

local function is_id(text)
	return text ~= nil and text ~= "" and #text <= MAX_ID and not text:find("%c");
end

local function occupant_id_of(stanza)
	local element = stanza:get_child("occupant-id", xmlns_occupant_id);
	local id = element and element.attr.id;
	return is_id(id) and id or "";
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

return { tombstone_of = tombstone_of };
