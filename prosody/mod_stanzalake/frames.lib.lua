-- Frames: length-prefixed texts, of which requests and answers of the query component consist (docs/protocol.md).

-- Digits of a position and of a length.
local MAX_DIGITS, MAX_LENGTH_DIGITS = 20, 10;
-- Bytes of the line that a frame begins with.
local MAX_HEAD = 64;

local function write(kind, position, content)
	return ("%s %d %d\n"):format(kind, position, #content)..content;
end

local function number(digits, most)
	return digits and #digits <= most and math.tointeger(tonumber(digits)) or nil;
end

-- Finds the frames of a text. Returns the first byte of what is not a whole frame yet, and the number of bytes from
-- there on that are needed to go on; or nil and the reason.
--   take: gets the kind, the position (0 for none), and the first and the last byte of the content of each
local function read(text, take)
	local start, size = 1, #text;
	while start <= size do
		local kind, position, length, first = text:match("^(%l+) (%d+) (%d+)\n()", start);
		local is_begun = not kind and size - start < MAX_HEAD and not text:find("\n", start, true);
		if is_begun then return start, size - start + 2; end
		position, length = number(position, MAX_DIGITS), number(length, MAX_LENGTH_DIGITS);
		if not position or not length then return nil, "an answer with a frame that has no head"; end
		if length > size - first + 1 then return start, first - start + length; end
		start = first + length;
		take(kind, position, first, start - 1);
	end
	return start, 0;
end

return { write = write, read = read };
