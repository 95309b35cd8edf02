-- Events: what happened to one archive, as one line of JSON (docs/protocol.md).

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\" };
for code = 0, 31 do
	escapes[string.char(code)] = ("\\u%04x"):format(code);
end

-- Where nothing needs an escape, Lua's literal is JSON's string, and ten times faster than a pattern.
local function quote(text)
	local literal = ("%q"):format(text);
	if #literal == #text + 2 then return literal; end
	return '"'..text:gsub('[\0-\31"\\]', escapes)..'"';
end

-- The position comes early: the journal finds it there again after a restart.
local function encode(message)
	return '{"type":"message","v":1,"position":'..message.position..',"owner":'..quote(message.owner)
		..',"peer":'..quote(message.peer)..',"peer_resource":'..quote(message.peer_resource)
		..',"direction":"'..message.direction..'","kind":"'..message.kind
		..'","contact":'..tostring(message.contact)..',"stanza":'..quote(message.stanza).."}";
end

local function position_of(line)
	return math.tointeger(tonumber(line:match('"position":(%d+)')));
end

-- Used again for every stanza: what tables leave behind costs Prosody more than the work.
local parts, values = {}, {};
local part_count, value_count;

local function write(part)
	part_count = part_count + 1;
	parts[part_count] = part;
end

local function write_attributes(attributes, outer_xmlns)
	for name, value in pairs(attributes) do
		if name ~= "xmlns" or value ~= outer_xmlns then
			write(" "..name.."='"..value.."'");
			values[value_count + 1], values[value_count + 2] = name, value;
			value_count = value_count + 2;
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
			write(child);
			value_count = value_count + 1;
			values[value_count] = child;
		end
	end
	if #element > 0 then write("</"..element.name..">"); end
end

-- What needs an escape, or a prefix, in XML.
local SPECIAL = { "'", "&", "<", ">", '"', "\1" };

-- Gives the same as tostring, which looks for what to escape character by character, and only asks it if there is.
local function text_of(stanza)
	part_count, value_count = 0, 0;
	write_element(stanza);
	local all_values = table.concat(values, "", 1, value_count);
	for i = 1, #SPECIAL do
		if all_values:find(SPECIAL[i], 1, true) then return tostring(stanza); end
	end
	return table.concat(parts, "", 1, part_count);
end

return { encode = encode, position_of = position_of, text_of = text_of };
