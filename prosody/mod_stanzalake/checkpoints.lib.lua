-- Checkpoints: map a journal offset to log watermarks that cover it, as ingest reports them.
--
-- Watermarks that cover an offset cover every smaller one, so a later checkpoint serves an earlier offset.

-- Enough for any journal: 2^63 bytes thin out to fewer.
local MAX_CHECKPOINTS = 1024;
-- The bytes that one checkpoint stands for, as a share of its distance from the newest.
local COARSENESS = 1 / 8;

local checkpoints_mt = {};
checkpoints_mt.__index = checkpoints_mt;

-- Keeps fewer of the older checkpoints: an offset between two is covered by the later one.
local function thinned(checkpoints)
	local newest, kept = checkpoints[#checkpoints].offset, {};
	for i, checkpoint in ipairs(checkpoints) do
		local before, after = kept[#kept], checkpoints[i + 1];
		local dense = before and after and after.offset - before.offset <= (newest - after.offset) * COARSENESS;
		if not dense then kept[#kept + 1] = checkpoint; end
	end
	return kept;
end

-- Adds the watermarks of a batch: "PARTITION:OFFSET PARTITION:OFFSET ...".
-- Without any (an ingest that reports none), nothing is known from then on.
--   offset: the journal offset after the batch
function checkpoints_mt:add(offset, watermarks)
	self.known = self.known and watermarks ~= nil;
	if not self.known then self.list = {}; return; end
	local log_offsets = {};
	for partition, log_offset in pairs(self.log_offsets) do log_offsets[partition] = log_offset; end
	for partition, log_offset in watermarks:gmatch("(%d+):(%d+)") do
		log_offset = tonumber(log_offset);
		-- Batches in the window overtake each other on their way into the log.
		log_offsets[partition] = math.max(log_offsets[partition] or 0, log_offset);
		self.first[partition] = self.first[partition] or log_offset;
	end
	self.log_offsets = log_offsets;
	table.insert(self.list, { offset = offset, log_offsets = log_offsets });
	if #self.list > MAX_CHECKPOINTS then self.list = thinned(self.list); end
end

-- Returns watermarks that cover a journal offset, as text; nil if unknown.
function checkpoints_mt:at(offset)
	for _, checkpoint in ipairs(self.list) do
		if checkpoint.offset >= offset then return self:write(checkpoint.log_offsets); end
	end
end

-- For a partition that had received none of our events by then, the first one since our start is a bound: everything
-- from before the start has smaller offsets.
function checkpoints_mt:write(log_offsets)
	local watermarks = {};
	for partition, first in pairs(self.first) do
		watermarks[#watermarks + 1] = ("%s:%d"):format(partition, log_offsets[partition] or first);
	end
	return table.concat(watermarks, " ");
end

local function new()
	return setmetatable({ known = true, log_offsets = {}, first = {}, list = {} }, checkpoints_mt);
end

return { new = new };
