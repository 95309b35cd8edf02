-- Frames: length-prefixed texts, of which requests and answers of the query component consist (docs/protocol.md).

local MAX_DIGITS = 20;

local function write(kind, position, content)
	return ("%s %d %d\n"):format(kind, position, #content)..content;
end

local function number(digits)
	return #digits <= MAX_DIGITS and math.tointeger(tonumber(digits)) or nil;
end

-- Finds the frames of a text. Returns true, or nil and the reason.
--   take: gets the kind, the position (0 for none), and the first and the last byte of the content of each
local function read(text, take)
	local start, size = 1, #text;
	while start <= size do
		local kind, position, length, first = text:match("^(%l+) (%d+) (%d+)\n()", start);
		if not kind then return nil, "an answer with a frame that has no head"; end
		position, length = number(position), number(length);
		if not position or not length or length > size - first + 1 then
			return nil, "an answer with a frame that is cut off";
		end
		start = first + length;
		take(kind, position, first, start - 1);
	end
	return true;
end

return { write = write, read = read };
