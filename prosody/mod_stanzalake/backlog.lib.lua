-- The backlog: what a journal on disk holds, read by another process than the one that writes it.

local event = module:require "event";
local lfs = require "lfs";

local SEGMENT = "^(%d+)%.ndjson$";
local SEQUENCE_BITS = 16;

local function read_line(path, place)
	local file = io.open(path, "rb");
	if not file then return nil; end
	file:seek("set", place);
	local line = file:read("L");
	file:close();
	return line;
end

local function find_segments(directory)
	local starts = {};
	if not lfs.attributes(directory, "mode") then return starts; end
	for name in lfs.dir(directory) do
		local start = name:match(SEGMENT);
		if start then starts[#starts + 1] = { start = math.tointeger(tonumber(start)), path = directory.."/"..name }; end
	end
	table.sort(starts, function (a, b) return a.start < b.start; end);
	return starts;
end

-- Gives when the event at a place happened: unix time in seconds, or nil.
local function time_at(segments, place)
	for i = #segments, 1, -1 do
		if segments[i].start <= place then
			local line = read_line(segments[i].path, place - segments[i].start);
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
	local segments = find_segments(directory);
	local first, last = segments[1], segments[#segments];
	local taken = math.max(acked(directory), first and first.start or 0);
	local written = last and last.start + (lfs.attributes(last.path, "size") or 0) or taken;
	return {
		segments = #segments, written = written, waiting = math.max(0, written - taken);
		oldest = written > taken and time_at(segments, taken) or nil;
	};
end

return { read = read, acked = acked };
