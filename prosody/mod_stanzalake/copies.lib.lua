-- Copies: a room sends a private message to each session under a nick (XEP-0045 §7.5), and an archive keeps one.

local sha256 = require "util.hashes".sha256;
local jid_resource = require "util.jid".resource;
-- A clock that no step of the wall clock moves.
local now = require "util.time".monotonic;

local new_cache = require "util.cache".new;

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

-- Messages whose copies are known, and seconds within which one comes.
local MAX_MESSAGES = 1000;
local WINDOW = 60;

local copies_mt = {};
copies_mt.__index = copies_mt;

-- Adds an element's parts to a list, its attributes in the order of their names: Lua has no order of its own.
--   left_out: name of an attribute of the element that does not count
local function add_parts(parts, element, left_out)
	local names = {};
	for name in pairs(element.attr) do
		if name ~= left_out then names[#names + 1] = name; end
	end
	table.sort(names);
	parts[#parts + 1] = ("<%s %d %d"):format(element.name, #names, #element);
	for _, name in ipairs(names) do
		parts[#parts + 1] = name;
		parts[#parts + 1] = element.attr[name];
	end
	for _, child in ipairs(element) do
		if child.name then add_parts(parts, child); else parts[#parts + 1] = child; end
	end
end

-- Returns what all copies of an incoming private message have in common; nil if the message is none.
local function key_of(stanza, owner)
	local is_private = stanza:get_child("x", xmlns_muc_user) and stanza.attr.id and jid_resource(stanza.attr.from);
	if not is_private then return nil; end
	local parts = { owner };
	add_parts(parts, stanza, "to");
	return sha256(table.concat(parts, "\0"));
end

-- Returns the archived message, a table with position and is_announced, if the session gets a further copy of it. The
-- same session gets none: the message was sent once more.
function copies_mt:find(key, session)
	local known = self.known:get(key);
	if not known or now() - known.at > WINDOW or known.sessions[session] then return nil; end
	known.sessions[session] = true;
	return known;
end

-- Remembers an archived message, of which a session gets the first copy.
function copies_mt:add(key, session, position, is_announced)
	self.known:set(key, {
		at = now(), position = position, is_announced = is_announced, sessions = { [session] = true };
	});
end

local function new()
	return setmetatable({ known = new_cache(MAX_MESSAGES) }, copies_mt);
end

return { new = new, key_of = key_of };
