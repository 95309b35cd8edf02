-- Ends: behind which records the log's partitions had everything of the journal up to a place, as ingest tells it.
--
-- What the log has up to one place it has up to every earlier one, so that a later mark serves for an earlier place.

-- Enough for any journal: thinned marks of 2^63 bytes are fewer.
local MAX_MARKS = 1024;
-- The stretch for which one mark stands, as a part of how long ago it was.
local COARSENESS = 1 / 8;

local ends_mt = {};
ends_mt.__index = ends_mt;

-- Leaves out marks, the more the longer ago: a line is waited for up to the next one.
local function thinned(marks)
	local newest, kept = marks[#marks].place, {};
	for i, mark in ipairs(marks) do
		local before, behind = kept[#kept], marks[i + 1];
		local dense = before and behind and behind.place - before.place <= (newest - behind.place) * COARSENESS;
		if not dense then kept[#kept + 1] = mark; end
	end
	return kept;
end

-- Takes what ingest said of the lines up to a place: "PARTITION:OFFSET PARTITION:OFFSET ...".
-- If it said nothing, where these lines are is not known, nor where anything is from then on.
function ends_mt:add(place, text)
	self.known = self.known and text ~= nil;
	if not self.known then self.marks = {}; return; end
	local offsets = {};
	for partition, offset in pairs(self.offsets) do offsets[partition] = offset; end
	for partition, offset in text:gmatch("(%d+):(%d+)") do
		offset = tonumber(offset);
		-- Batches overtake each other on their way into the log.
		offsets[partition] = math.max(offsets[partition] or 0, offset);
		self.first[partition] = self.first[partition] or offset;
	end
	self.offsets = offsets;
	table.insert(self.marks, { place = place, offsets = offsets });
	if #self.marks > MAX_MARKS then self.marks = thinned(self.marks); end
end

-- Gives the ends for a place, written as ingest does; nil if they are not known.
function ends_mt:at(place)
	for _, mark in ipairs(self.marks) do
		if mark.place >= place then return self:write(mark.offsets); end
	end
end

-- A partition without an offset had no line of ours by then since we began. What it had before that is older than
-- the first line that it has got since.
function ends_mt:write(offsets)
	local pairs_of = {};
	for partition, first in pairs(self.first) do
		pairs_of[#pairs_of + 1] = ("%s:%d"):format(partition, offsets[partition] or first);
	end
	return table.concat(pairs_of, " ");
end

local function new()
	return setmetatable({ known = true, offsets = {}, first = {}, marks = {} }, ends_mt);
end

return { new = new };
