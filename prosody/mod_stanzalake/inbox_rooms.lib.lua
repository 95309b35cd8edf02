-- The rooms in an account's inbox (XEP-0430 §2.2): those of this Prosody that the account has bookmarked (XEP-0402).
-- The component of each room decides whether the account may read it, and gives the entry (room_entries.lib.lua).

local jid = require "util.jid";

local directory = module:require "directory";
local pep_items = module:require "pep_items";

local xmlns_bookmarks = "urn:xmpp:bookmarks:1";
local xmlns_rsm = "http://jabber.org/protocol/rsm";

-- Seconds for which an inbox waits for its rooms; the others are left out.
local TIMEOUT = 2;
-- Bookmarks that are looked at, and rooms that are asked about.
local MAX_BOOKMARKS, MAX_ROOMS = 1000, 50;
-- Bytes of names, which travel in a request, and of last messages, which stay in memory.
local MAX_NAMES, MAX_MESSAGES = 16 * 1024, 256 * 1024;

-- Returns whether a host of this Prosody archives rooms.
local function archives_rooms(host)
	local known = prosody.hosts[host];
	return known and known.modules.stanzalake and directory.kind_of(host) == "rooms";
end

-- Returns lists of the bookmarked rooms by the component that they are on.
local function read_bookmarks(owner)
	local found, seen = {}, {};
	local items = pep_items.read(owner, xmlns_bookmarks);
	for number, id in ipairs(items) do
		if number > MAX_BOOKMARKS then break; end
		local node, host, resource = jid.prepped_split(id);
		local room_jid = node and not resource and archives_rooms(host) and jid.join(node, host);
		if room_jid and not seen[room_jid] and items[id]:get_child("conference", xmlns_bookmarks) then
			seen[room_jid], found[host] = true, found[host] or {};
			table.insert(found[host], room_jid);
		end
	end
	return found;
end

local collection_mt = {};
collection_mt.__index = collection_mt;

-- Takes the entry of a room, or nil for one that adds nothing.
function collection_mt:take(entry)
	if self.closed then return; end
	self.left = self.left - 1;
	if entry then
		local names, messages = self.names + #entry.jid + #entry.id, self.messages + entry.bytes;
		if names <= MAX_NAMES and messages <= MAX_MESSAGES then
			self.names, self.messages = names, messages;
			table.insert(self.entries, entry);
		end
	end
	if self.left == 0 and self.asked then self:close(); end
end

function collection_mt:close()
	if self.closed then return; end
	self.closed = true;
	if self.timer then self.timer:stop(); end
	self.collected(self.entries);
end

-- Collects the entries of an account's rooms.
--   request: with asker, owner, the id of the iq and whether the inbox has messages
--   displayed: ids by room up to which the account has read
--   collected: called once, with a list of entries
local function collect(request, displayed, collected)
	local collection = setmetatable({
		entries = {}, names = 0, messages = 0, left = 0, collected = collected;
	}, collection_mt);
	local room_left = MAX_ROOMS;
	for host, rooms in pairs(read_bookmarks(request.owner)) do
		local count = room_left > 0 and module:context(host):fire_event("stanzalake-room-entries", {
			account = request.owner, asker = request.asker, id = request.iq.attr.id, messages = request.inbox.messages;
			rooms = rooms, displayed = displayed, limit = room_left, collection = collection;
		}) or 0;
		room_left, collection.left = room_left - count, collection.left + count;
	end
	collection.asked = true;
	if collection.left == 0 then return collection:close(); end
	collection.timer = module:add_timer(TIMEOUT, function () collection:close(); end);
end

-- Returns the parts of a request for the inbox that matter here: whether it wants messages, and the ids in its set.
local function parse(inbox)
	local set, messages = inbox:get_child("set", xmlns_rsm), inbox.attr.messages;
	return {
		messages = messages ~= "false" and messages ~= "0";
		ends = set and { set:get_child_text("after") or "", set:get_child_text("before") or "" } or {};
	};
end

-- Returns the entries as a request has them, and those of their messages that an end of the requested page names; nil
-- for none.
--   open: returns the position of an id in an archive
local function format(entries, ends, open)
	local rooms, anchors = {}, {};
	for number, entry in ipairs(entries) do
		rooms[number] = { jid = entry.jid, id = entry.id, position = entry.position, unread = entry.unread };
		for _, id in ipairs(ends) do
			local position = id == entry.id and entry.position or open(entry.jid, id);
			if position then anchors[id] = { jid = entry.jid, position = position }; end
		end
	end
	return rooms[1] and rooms or nil, next(anchors) and anchors or nil;
end

return { collect = collect, format = format, parse = parse };
