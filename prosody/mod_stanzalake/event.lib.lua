-- Events: what happened to one archive, as one line of JSON with its line feed (docs/protocol.md).

local find = string.find;
local xml_escape = require "util.stanza".xml_escape;

local escapes = {};
for code = 0, 31 do
	escapes[string.char(code)] = ("\\u%04x"):format(code);
end
-- No character that XML allows takes more than two bytes.
for character, letter in pairs { ['"'] = '"', ["\\"] = "\\", ["\n"] = "n", ["\r"] = "r", ["\t"] = "t" } do
	escapes[character] = "\\"..letter;
end

-- Where nothing needs an escape, Lua's literal is JSON's string, and ten times faster than a pattern.
local function quote(text)
	local literal = ("%q"):format(text);
	if #literal == #text + 2 then return literal; end
	return '"'..text:gsub('[\0-\31"\\]', escapes)..'"';
end

-- The position comes early: the journal finds it there again after a restart. Only a room's message has an occupant.
local function encode(message)
	local occupant = message.occupant and ',"occupant":'..quote(message.occupant) or "";
	return '{"type":"message","v":1,"position":'..message.position..',"owner":'..quote(message.owner)
		..',"peer":'..quote(message.peer)..',"peer_resource":'..quote(message.peer_resource)
		..',"direction":"'..message.direction..'","kind":"'..message.kind
		..'","contact":'..tostring(message.contact)..occupant..',"stanza":'..quote(message.stanza).."}\n";
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

-- Used again for every stanza: what tables leave behind costs Prosody more than the work.
local parts = {};
local part_count, has_prefix, has_xmlns_xml;

local function write(part)
	part_count = part_count + 1;
	parts[part_count] = part;
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
		if name ~= "xmlns" or value ~= outer_xmlns then
			has_prefix = has_prefix or name:find("\1", 1, true);
			has_xmlns_xml = has_xmlns_xml or value == xmlns_xml;
			write(" "..name.."='"..escape(value).."'");
		end
	end
end

local function write_element(element, outer_xmlns)
	write("<"..element.name);
	write_attributes(element.attr, outer_xmlns);
	write(#element == 0 and "/>" or ">");
	for i = 1, #element do
		local child = element[i];
		if child.name then
			write_element(child, element.attr.xmlns);
		else
			write(escape(child));
		end
	end
	if #element > 0 then write("</"..element.name..">"); end
end

-- Gives the same as tostring, and asks it where an attribute has a prefix. The second result is true if that text may
-- not be well-formed: tostring binds prefixes to XML's own namespace, which is forbidden, and writes line feeds as they
-- are, which are spaces to a parser, so that two names may become one.
local function text_of(stanza)
	part_count, has_prefix, has_xmlns_xml = 0, false, false;
	write_element(stanza);
	local text = has_prefix and tostring(stanza) or table.concat(parts, "", 1, part_count);
	return text, (has_prefix or has_xmlns_xml) and true;
end

return {
	encode = encode, encode_tombstone = encode_tombstone;
	position_of = position_of, owner_of = owner_of, text_of = text_of;
};
