-- Stanza ids (XEP-0359): their elements on messages, announced by an archive or forged.

local jid_prep = require "util.jid".prep;
local stanza_mt = require "util.stanza".stanza_mt;

local unpack = table.unpack;

local xmlns_sid = "urn:xmpp:sid:0";

-- Returns a copy with attributes and lists of children of its own, shared children, which nobody changes. The lists
-- are made in their size: what a table leaves behind as it grows costs Prosody more than the work.
--   element: a further child; optional
local function copy_of(stanza, element)
	local attr, tags = {}, { unpack(stanza.tags) };
	for name, value in next, stanza.attr do attr[name] = value; end
	tags[#tags + 1] = element;
	local copy = { name = stanza.name, attr = attr, tags = tags, unpack(stanza) };
	copy[#copy + 1] = element;
	return setmetatable(copy, stanza_mt);
end

local function has_ids(stanza)
	return stanza:get_child("stanza-id", xmlns_sid) ~= nil;
end

-- Whether an element claims to be an id from the owner's archive.
local function is_id_by(tag, owner)
	return tag.name == "stanza-id" and tag.attr.xmlns == xmlns_sid and jid_prep(tag.attr.by) == owner;
end

-- Removes every stanza-id that claims to be from the owner's archive, in place (XEP-0359 §3, rule 2).
local function remove_ids(stanza, owner)
	return stanza:maptags(function (tag) return not is_id_by(tag, owner) and tag or nil; end);
end

-- Copies the stanza only if it has such an id: each occupant gets a room's message with the room's id on it.
local function without_ids(stanza, owner)
	for _, tag in ipairs(stanza.tags) do
		if is_id_by(tag, owner) then return remove_ids(copy_of(stanza), owner); end
	end
	return stanza;
end

-- Returns the element of an owner's id. Prosody checks each character of an element that it makes.
local function stanza_id(owner, id)
	return setmetatable({ name = "stanza-id", attr = { xmlns = xmlns_sid, by = owner, id = id }, tags = {} }, stanza_mt);
end

-- Returns the id of a stanza by an archive, if there is one.
local function id_of(stanza, by)
	for tag in stanza:childtags("stanza-id", xmlns_sid) do
		if tag.attr.by == by then return tag.attr.id; end
	end
end

return {
	copy_of = copy_of, has_ids = has_ids, remove_ids = remove_ids, without_ids = without_ids;
	stanza_id = stanza_id, id_of = id_of;
};
