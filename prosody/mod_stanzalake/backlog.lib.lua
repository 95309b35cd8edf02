-- The backlog: what a journal on disk holds, read by another process than the one that writes it.

local event = module:require "event";
local journals = module:require "journal";
local lfs = require "lfs";

local SEQUENCE_BITS = 16;

local function read_line(path, place)
	local file = io.open(path, "rb");
	if not file then return nil; end
	file:seek("set", place);
	local line = file:read("L");
	file:close();
	return line;
end

-- Gives when the event at a place happened: unix time in seconds, or nil.
local function time_at(directory, starts, place)
	for i = #starts, 1, -1 do
		if starts[i] <= place then
			local line = read_line(journals.segment_path(directory, starts[i]), place - starts[i]);
			local position = line and event.position_of(line);
			return position and (position >> SEQUENCE_BITS) // 1000;
		end
	end
end

-- Gives the place up to which everything is acknowledged.
local function acked(directory)
	local line = read_line(directory.."/acked", 0);
	return line and math.tointeger(tonumber(line:match("^(%d+) "))) or 0;
end

-- Gives the number of files, the place behind the last line, the bytes that wait, and the time of the oldest event
-- that does (unix time in seconds, nil if none does).
local function read(directory)
	local starts = lfs.attributes(directory, "mode") and journals.find_segments(directory) or {};
	local first, last = starts[1], starts[#starts];
	local taken = math.max(acked(directory), first or 0);
	local written = last and last + (lfs.attributes(journals.segment_path(directory, last), "size") or 0) or taken;
	return {
		segments = #starts, written = written, waiting = math.max(0, written - taken);
		oldest = written > taken and time_at(directory, starts, taken) or nil;
	};
end

return { read = read, acked = acked };
