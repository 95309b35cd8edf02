-- Displayed: up to where an account has read each of its chats, as its clients keep it in PEP (XEP-0490).

local pep_items = module:require "pep_items";

local xmlns_displayed = "urn:xmpp:mds:displayed:0";
local xmlns_sid = "urn:xmpp:sid:0";

-- Bytes of one account's chats and ids: a request stays within what the query components take.
local MAX_BYTES = 64 * 1024;

-- Names that util.json does not write as keys of an object; no chat has one.
local NO_KEYS = { __array = true, __hash = true };

-- Returns the archive id in an item, if the chat's own archive assigned it.
local function id_of(item, archive)
	local displayed = item:get_child("displayed", xmlns_displayed);
	local stanza_id = displayed and displayed:get_child("stanza-id", xmlns_sid);
	return stanza_id and stanza_id.attr.by == archive and stanza_id.attr.id or nil;
end

-- Returns the ids by chat, of chats in the account's archive, and of those in an archive of their own: rooms.
local function read(owner)
	local own, rooms, bytes = {}, {}, 0;
	local items = pep_items.read(owner, xmlns_displayed);
	for _, chat in ipairs(items) do
		local own_id, room_id = id_of(items[chat], owner), id_of(items[chat], chat);
		local id = own_id or room_id;
		if id and not NO_KEYS[chat] then
			bytes = bytes + #chat + #id + 8;
			if bytes > MAX_BYTES then break; end
			own[chat], rooms[chat] = own_id, room_id;
		end
	end
	return own, rooms;
end

return { read = read };
