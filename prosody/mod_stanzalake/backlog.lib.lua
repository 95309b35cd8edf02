-- The backlog: the unacknowledged part of a journal, read from another process.

local event = module:require "event";
local journals = module:require "journal";
local lfs = require "lfs";

local SEQUENCE_BITS = 16;

local function read_line(path, offset)
	local file = io.open(path, "rb");
	if not file then return nil; end
	file:seek("set", offset);
	local line = file:read("L");
	file:close();
	return line;
end

-- Returns the time of the event at an offset, unix seconds, or nil.
local function time_at(directory, starts, offset)
	for i = #starts, 1, -1 do
		if starts[i] <= offset then
			local line = read_line(journals.segment_path(directory, starts[i]), offset - starts[i]);
			local position = line and event.position_of(line);
			return position and (position >> SEQUENCE_BITS) // 1000;
		end
	end
end

-- Returns the offset up to which everything is acknowledged.
local function acked(directory)
	local line = read_line(directory.."/acked", 0);
	return line and math.tointeger(tonumber(line:match("^(%d+) "))) or 0;
end

-- Returns the number of segments, the offset after the last line, the unacknowledged bytes, and the time of the oldest
-- unacknowledged event (unix seconds, or nil).
local function read(directory)
	local starts = lfs.attributes(directory, "mode") and journals.find_segments(directory) or {};
	local first, last = starts[1], starts[#starts];
	local acknowledged = math.max(acked(directory), first or 0);
	local written = last and last + (lfs.attributes(journals.segment_path(directory, last), "size") or 0) or acknowledged;
	return {
		segments = #starts, written = written, waiting = math.max(0, written - acknowledged);
		oldest = written > acknowledged and time_at(directory, starts, acknowledged) or nil;
	};
end

return { read = read, acked = acked };
