-- Turns: a bounded number of requests at work and waiting, shared fairly among accounts.

local KiB = 1024;

-- Requests at work: of all accounts, and of a single one.
local MAX_AT_WORK, MAX_AT_WORK_EACH = 256, 2;
-- Requests of an account that wait: clients query each of their chats at once, on each device.
local MAX_WAITING, MAX_WAITING_BYTES = 512, 512 * KiB;
-- Bytes of all requests that wait.
local MAX_BYTES = 64 * KiB * KiB;

local turns_mt = {};
turns_mt.__index = turns_mt;

local idle = { waiting = 0, bytes = 0 };

-- Whether a request of so many bytes may wait.
function turns_mt:has_room(account, bytes)
	local queue = self.queues[account] or idle;
	return queue.waiting < MAX_WAITING and queue.bytes + bytes <= MAX_WAITING_BYTES and self.bytes + bytes <= MAX_BYTES;
end

-- Adds a request.
--   start: called when its turn comes; then finish must be called once
function turns_mt:add(account, bytes, start)
	local queue = self.queues[account] or { account = account, at_work = 0, waiting = 0, bytes = 0, first = 1 };
	self.queues[account] = queue;
	queue[queue.first + queue.waiting] = { bytes = bytes, start = start };
	queue.waiting, queue.bytes, self.bytes = queue.waiting + 1, queue.bytes + bytes, self.bytes + bytes;
	self:line_up(queue);
	self:run();
end

-- Puts an account at the end of the round if it may have a turn.
function turns_mt:line_up(queue)
	if queue.lined_up or queue.waiting == 0 or queue.at_work == MAX_AT_WORK_EACH then return; end
	queue.lined_up = true;
	table.insert(self.round, queue);
end

function turns_mt:take(queue)
	local request = queue[queue.first];
	queue[queue.first] = nil;
	queue.first, queue.waiting = queue.first + 1, queue.waiting - 1;
	queue.bytes, self.bytes = queue.bytes - request.bytes, self.bytes - request.bytes;
	queue.at_work, self.at_work = queue.at_work + 1, self.at_work + 1;
	return request;
end

function turns_mt:run()
	-- A request may finish before its start returns.
	if self.running then return; end
	self.running = true;
	while self.round[1] and self.at_work < MAX_AT_WORK do
		local queue = table.remove(self.round, 1);
		queue.lined_up = false;
		local request = self:take(queue);
		self:line_up(queue);
		local ok, err = pcall(request.start);
		if not ok then
			self.running = false;
			error(err, 0);
		end
	end
	self.running = false;
end

-- Ends the turn of a request.
function turns_mt:finish(account)
	local queue = self.queues[account];
	queue.at_work, self.at_work = queue.at_work - 1, self.at_work - 1;
	if queue.at_work == 0 and queue.waiting == 0 then self.queues[account] = nil; end
	self:line_up(queue);
	self:run();
end

local function new()
	return setmetatable({ queues = {}, round = {}, bytes = 0, at_work = 0 }, turns_mt);
end

return { new = new };
