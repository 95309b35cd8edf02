-- Frames: length-prefixed texts, of which requests and answers of the query component consist (docs/protocol.md).

local MAX_DIGITS = 20;

local function write(kind, position, content)
	return ("%s %d %d\n"):format(kind, position, #content)..content;
end

local function number(digits)
	return #digits <= MAX_DIGITS and math.tointeger(tonumber(digits)) or nil;
end

-- Returns the frames of a text, each with kind, position (0 for none) and content; or nil and the reason.
local function read(text)
	local found, start = {}, 1;
	while start <= #text do
		local _, head, kind, position, length = text:find("^(%l+) (%d+) (%d+)\n", start);
		if not head then return nil, "an answer with a frame that has no head"; end
		position, length = number(position), number(length);
		if not position or not length or length > #text - head then
			return nil, "an answer with a frame that is cut off";
		end
		found[#found + 1] = { kind = kind, position = position, content = text:sub(head + 1, head + length) };
		start = head + length + 1;
	end
	return found;
end

return { write = write, read = read };
