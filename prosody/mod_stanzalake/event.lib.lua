-- Events: what happened to one archive, as one line of JSON with its line feed (docs/protocol.md).

local find, format = string.find, string.format;
local xml_escape = require "util.stanza".xml_escape;

local escapes = {};
for code = 0, 31 do
	escapes[string.char(code)] = ("\\u%04x"):format(code);
end
-- No character that XML allows takes more than two bytes.
for character, letter in pairs { ['"'] = '"', ["\\"] = "\\", ["\n"] = "n", ["\r"] = "r", ["\t"] = "t" } do
	escapes[character] = "\\"..letter;
end

local function quote(text)
	return '"'..text:gsub('[\0-\31"\\]', escapes)..'"';
end

-- The position comes early: the journal finds it there again after a restart. Only a room's message has an occupant.
local MESSAGE = '{"type":"message","v":1,"position":%d,"owner":%q,"peer":%q,"peer_resource":%q,"direction":"%s",'
	..'"kind":"%s","contact":%s%s,"stanza":%q}\n';
local QUOTED_MESSAGE = MESSAGE:gsub("%%q", "%%s");

-- Where nothing needs an escape, Lua's literals are JSON's strings, and ten times faster than a pattern.
local function encode(message)
	local occupant = message.occupant and ',"occupant":'..quote(message.occupant) or "";
	local line = format(MESSAGE, message.position, message.owner, message.peer, message.peer_resource,
		message.direction, message.kind, tostring(message.contact), occupant, message.stanza);
	if not find(line, "\\", 1, true) then return line; end
	return format(QUOTED_MESSAGE, message.position, quote(message.owner), quote(message.peer),
		quote(message.peer_resource), message.direction, message.kind, tostring(message.contact), occupant,
		quote(message.stanza));
end

-- A tombstone in a room names its message by the position.
local function encode_tombstone(tombstone)
	local of_room = tombstone.target and ',"target":'..tombstone.target..',"moderated":'..tostring(tombstone.moderated)
		..',"by_occupant_id":'..quote(tombstone.by_occupant_id)..',"reason":'..quote(tombstone.reason) or "";
	return '{"type":"tombstone","v":1,"position":'..tombstone.position..',"owner":'..quote(tombstone.owner)
		..',"peer":'..quote(tombstone.peer)..',"peer_resource":'..quote(tombstone.peer_resource)
		..',"direction":"'..tombstone.direction..'","message_id":'..quote(tombstone.message_id)
		..',"occupant_id":'..quote(tombstone.occupant_id)..',"by":'..quote(tombstone.by)
		..',"retraction_id":'..quote(tombstone.retraction_id)..of_room.."}\n";
end

local function position_of(line)
	return math.tointeger(tonumber(line:match('"position":(%d+)')));
end

-- Of the owner no more than \ is escaped.
local function owner_of(line)
	local owner = line:match('"owner":"([^"]*)"');
	return owner and owner:gsub("\\\\", "\\");
end

local xmlns_xml = "http://www.w3.org/XML/1998/namespace";

-- The pieces of a stanza's text, and all that the stanza consists of, as compare reads it. Used again for every stanza:
-- what tables leave behind costs Prosody more than the work.
local pieces, content = {}, {};
local piece_count, content_count = 0, 0;
-- Entries of these tables up to which they are used again: a large stanza's would stay large.
local MAX_REUSED = 1000;
local has_prefix, has_xmlns_xml;
-- Of the last stanza.
local last_text, last_is_doubtful;

local function write(piece)
	piece_count = piece_count + 1;
	pieces[piece_count] = piece;
end

local function note(value)
	content_count = content_count + 1;
	content[content_count] = value;
end

local SPECIAL = { "'", "&", "<", ">", '"' };

-- A pattern looks at every character, in Lua's own machine; a plain search is libc's. Takes numbers, like tostring.
local function escape(text)
	for i = 1, #SPECIAL do
		if find(text, SPECIAL[i], 1, true) then return xml_escape(text); end
	end
	return text;
end

local function write_attributes(attributes, outer_xmlns)
	for name, value in pairs(attributes) do
		note(name);
		note(value);
		if name ~= "xmlns" or value ~= outer_xmlns then
			has_prefix = has_prefix or name:find("\1", 1, true);
			has_xmlns_xml = has_xmlns_xml or value == xmlns_xml;
			write(" "..name.."='"..escape(value).."'");
		end
	end
end

local function write_element(element, outer_xmlns)
	note(#element);
	note(element.name);
	write("<"..element.name);
	write_attributes(element.attr, outer_xmlns);
	note(false);
	write(#element == 0 and "/>" or ">");
	for i = 1, #element do
		local child = element[i];
		if child.name then
			write_element(child, element.attr.xmlns);
		else
			note(child);
			write(escape(child));
		end
	end
	if #element > 0 then write("</"..element.name..">"); end
end

-- Compares an element with what is noted from an index on. Returns the index behind it, nil if they differ.
local function compare(element, i)
	local count = #element;
	if content[i] ~= count or content[i + 1] ~= element.name then return nil; end
	i = i + 2;
	for name, value in pairs(element.attr) do
		if content[i] ~= name or content[i + 1] ~= value then return nil; end
		i = i + 2;
	end
	if content[i] ~= false then return nil; end
	i = i + 1;
	for n = 1, count do
		local child = element[n];
		if child.name then
			i = compare(child, i);
			if not i then return nil; end
		elseif content[i] == child then
			i = i + 1;
		else
			return nil;
		end
	end
	return i;
end

local function clear(list, first, last)
	for i = first, last do list[i] = nil; end
end

-- Writes a stanza to the tables, and takes what is left of the one before out of them.
local function write_stanza(stanza)
	if content_count > MAX_REUSED then
		pieces, content, piece_count, content_count = {}, {}, 0, 0;
	end
	local old_pieces, old_content = piece_count, content_count;
	piece_count, content_count, has_prefix, has_xmlns_xml = 0, 0, false, false;
	write_element(stanza);
	clear(pieces, piece_count + 1, old_pieces);
	clear(content, content_count + 1, old_content);
end

-- Gives the same as tostring, and asks it where an attribute has a prefix. The second result is true if that text may
-- not be well-formed: tostring binds prefixes to XML's own namespace, which is forbidden, and writes line feeds as they
-- are, which are spaces to a parser, so that two names may become one.
--
-- A message between two accounts of a host comes twice in a row, for each archive once. Looking whether a handler has
-- changed it in between takes a third of the time of writing it again, and leaves nothing behind.
local function text_of(stanza)
	if last_text and compare(stanza, 1) == content_count + 1 then return last_text, last_is_doubtful; end
	last_text = nil;
	write_stanza(stanza);
	last_text = has_prefix and tostring(stanza) or table.concat(pieces, "", 1, piece_count);
	last_is_doubtful = (has_prefix or has_xmlns_xml) and true;
	return last_text, last_is_doubtful;
end

return {
	encode = encode, encode_tombstone = encode_tombstone;
	position_of = position_of, owner_of = owner_of, text_of = text_of;
};
