-- The sender: ships the journal to the ingest components in batches, and tracks acknowledgements.

local base64 = require "util.encodings".base64.encode;

local checkpoints = module:require "checkpoints";

local xmlns_batch = "urn:stanzalake:batch:1";
-- Seconds for which lines are gathered: short against a round trip, long enough for batches under load.
local COALESCE = 0.02;
local FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30;
local SAVE_INTERVAL = 1;
-- Bytes of the names of owners whose newest line is remembered.
local MAX_OWNERS = 4 * 1024 * 1024;

local sender_mt = {};
sender_mt.__index = sender_mt;

-- Does nothing while a timer runs: a new event does not cut a pause short.
function sender_mt:schedule(delay)
	if self.timer then return; end
	self.timer = module:add_timer(delay, function ()
		self.timer = nil;
		self:pump();
	end);
end

function sender_mt:reschedule(delay)
	if self.timer then self.timer:stop(); end
	self.timer = nil;
	self:schedule(delay);
end

function sender_mt:pause()
	self.failures = self.failures + 1;
	self:reschedule(math.min(FIRST_PAUSE * 2 ^ (self.failures - 1), LONGEST_PAUSE));
end

-- Logs a change between shipping and a failure.
function sender_mt:report(trouble)
	if trouble and not self.trouble then
		module:log("warn", "Events wait in the journal: %s", trouble);
	elseif self.trouble and not trouble then
		module:log("info", "Events are taken by ingest again");
	end
	self.trouble = trouble;
end

-- Logs and counts the events that vanished from the journal before they were shipped.
function sender_mt:report_gaps()
	for _, gap in ipairs(self.journal:take_gaps()) do
		local events = gap.events or 1;
		self.lost = self.lost + events;
		self.count_drop(events);
		module:log("error", "LOST: %s events (%d bytes) vanished from the journal before ingest had them: %s",
			gap.events or "an unknown number of", gap.bytes, "was a segment deleted, or the disk damaged?");
	end
end

function sender_mt:ship(batch)
	local jid = self.ingest:pick();
	if not jid then
		self:report("no ingest component is connected");
		return false;
	end
	local bytes = batch.stop and batch.stop - batch.from or self.batch_bytes;
	local text, stop = self.journal:read(batch.from, bytes, batch.stop);
	self:report_gaps();
	if not text then
		self:report(stop);
		self:pause();
		return false;
	end
	batch.stop, batch.shipped = stop, true;
	if text == "" then
		batch.acked, batch.watermarks = true, "";
		return true;
	end
	local payload = { self.batch_tag, base64(text), "</batch>" };
	self.ingest:request(jid, payload, self.ack_timeout, function (reply, why) self:on_answer(batch, reply, why); end);
	return true;
end

-- Returns the journal offset of the next batch.
function sender_mt:next_offset()
	local newest = self.batches[#self.batches];
	return newest and newest.stop or self.journal.acked;
end

-- Returns the oldest batch that is to be shipped again, if any.
function sender_mt:unshipped()
	for _, batch in ipairs(self.batches) do
		if not batch.shipped then return batch; end
	end
end

-- Returns whether there was a batch to ship, within the window, and it could be.
function sender_mt:ship_next()
	local again = self:unshipped();
	if again then return self:ship(again); end
	if #self.batches == self.window or self:next_offset() >= self.journal.written then return false; end
	local batch = { from = self:next_offset() };
	if not self:ship(batch) then return false; end
	table.insert(self.batches, batch);
	return true;
end

-- Ships one batch: Prosody joins what is written at a time, and copies what the socket does not take at once.
function sender_mt:pump()
	local is_shipped = self:ship_next();
	-- A batch of lost lines has no answer to wait for.
	if self.batches[1] and self.batches[1].acked then self:advance(); end
	if is_shipped then self:schedule(self:is_behind() and 0 or COALESCE); end
end

-- Whether a batch is to be shipped again, or there are lines for a whole one.
function sender_mt:is_behind()
	return self:unshipped() ~= nil or self.journal.written - self:next_offset() >= self.batch_bytes;
end

local function trouble_of(reply, why)
	if not reply then return why == "gone" and "an ingest component has gone" or "ingest does not answer in time"; end
	if reply.attr.type == "result" then return nil; end
	local _, condition = reply:get_error();
	return condition ~= "bad-request" and "ingest answers "..(condition or "an error without a condition") or nil;
end

function sender_mt:on_answer(batch, reply, why)
	local trouble = trouble_of(reply, why);
	if trouble then
		batch.shipped = false;
		self:report(trouble);
		if why == "gone" then self:schedule(COALESCE); else self:pause(); end
		return;
	end
	if reply.attr.type == "error" then
		module:log("warn", "Ingest kept some events aside as invalid; see stanzalake.rejected");
	end
	local taken = reply:get_child("batch", xmlns_batch);
	batch.acked, batch.watermarks = true, taken and taken.attr.ends;
	self.failures = 0;
	self:report(nil);
	self:advance();
	self:schedule(COALESCE);
end

function sender_mt:advance()
	local batches = self.batches;
	while batches[1] and batches[1].acked do
		local batch = table.remove(batches, 1);
		self.journal:release(batch.stop);
		self.checkpoints:add(batch.stop, batch.watermarks);
	end
	self:save_soon();
	self:end_holds();
end

function sender_mt:save()
	local ahead = self.sequence.ahead_owners;
	local ok, err = self.journal:save(self.sequence.last, ahead and ahead.last);
	if not ok then module:log("warn", "Acknowledged events will be sent again after a restart: %s", err); end
end

function sender_mt:save_soon()
	if self.saving then return; end
	self.saving = module:add_timer(SAVE_INTERVAL, function ()
		self.saving = nil;
		self:save();
	end);
end

-- Notes the journal offset after an owner's newest line, and the line's position.
function sender_mt:wrote(owner, offset, position)
	if not self.newest[owner] then self.owners = self.owners + #owner; end
	if self.owners > MAX_OWNERS then
		self.newest, self.positions, self.owners = {}, {}, 0;
		self.floor, self.floor_position = offset, self.sequence:mark();
	else
		self.newest[owner], self.positions[owner] = offset, position;
	end
	self:schedule(COALESCE);
end

-- Notes the journal offset after a line that changes the state of an archive.
function sender_mt:wrote_state(offset)
	self.states_end = offset;
end

-- Gives a position that is not below any of an owner's events, and that changes with each new one and each start.
function sender_mt:newest_position(owner)
	return self.positions[owner] or self.floor_position;
end

-- Calls back once all present lines of an owner are acknowledged.
--   timeout: seconds
--   resume: called once, with false on a timeout, else with true and the log watermarks that cover the lines, if known
function sender_mt:hold(owner, timeout, resume)
	self:hold_until(math.max(self.newest[owner] or 0, self.floor), timeout, resume);
end

-- The same for all lines that may change the state of an archive: messages, a flood of them, are not waited for.
function sender_mt:hold_states(timeout, resume)
	self:hold_until(self.states_end, timeout, resume);
end

function sender_mt:hold_until(offset, timeout, resume)
	-- The position of the query is in no journal line.
	self:save_soon();
	if offset <= self.journal.acked then return resume(true, self.checkpoints:at(offset)); end
	local hold = { offset = offset, resume = resume };
	hold.timer = module:add_timer(timeout, function () self:end_hold(hold, false); end);
	self.holds[hold] = true;
end

-- Ends all holds before the module is unloaded.
function sender_mt:close()
	for hold in pairs(self.holds) do
		hold.offset = 0;
	end
	self:end_holds();
	self:save();
end

function sender_mt:end_hold(hold, acked)
	if not self.holds[hold] then return; end
	self.holds[hold] = nil;
	hold.timer:stop();
	hold.resume(acked, acked and self.checkpoints:at(hold.offset) or nil);
end

function sender_mt:end_holds()
	local ready = {};
	for hold in pairs(self.holds) do
		if hold.offset <= self.journal.acked then ready[#ready + 1] = hold; end
	end
	for _, hold in ipairs(ready) do self:end_hold(hold, true); end
end

-- Ships at once after a component has connected.
function sender_mt:resume()
	self.failures = 0;
	if self.journal.acked < self.journal.written then self:reschedule(0); end
end

--   ingest: the ingest components
--   options: window (batches), batch_bytes, ack_timeout (seconds), instance (an id)
local function new(journal, sequence, ingest, options)
	return setmetatable({
		journal = journal, sequence = sequence, ingest = ingest;
		batch_tag = ("<batch xmlns='%s' instance='%s'>"):format(xmlns_batch, options.instance);
		window = options.window, batch_bytes = options.batch_bytes, ack_timeout = options.ack_timeout;
		batches = {}, failures = 0, holds = {}, checkpoints = checkpoints.new();
		-- The offset after each owner's newest line; the lines of other owners end at or before the floor.
		newest = {}, owners = 0, floor = journal.written;
		-- The offset after the newest line that may change the state of an archive.
		states_end = journal.written;
		-- Events that vanished from the journal since the start.
		lost = 0, count_drop = module:measure("dropped", "counter");
		-- The position of each owner's newest line; those of other owners are at most the floor's.
		positions = {}, floor_position = sequence:mark();
	}, sender_mt);
end

return { new = new };
