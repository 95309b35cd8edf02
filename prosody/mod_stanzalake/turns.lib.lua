-- Turns: a bounded number of requests at work and waiting, shared fairly among groups, and in a group among accounts.
-- An account of this Prosody is a group by itself; those of another server, which makes as many as it likes, are one.

local KiB = 1024;

-- Requests at work: of all accounts, of a group, and of a single account.
local MAX_AT_WORK, MAX_AT_WORK_GROUP, MAX_AT_WORK_EACH = 256, 32, 2;
-- Requests of an account that wait: clients query each of their chats at once, on each device.
local MAX_WAITING, MAX_WAITING_BYTES = 512, 512 * KiB;
-- Requests of a group that wait.
local MAX_GROUP_WAITING, MAX_GROUP_BYTES = 4096, 4 * KiB * KiB;
-- Bytes of all requests that wait.
local MAX_BYTES = 64 * KiB * KiB;

local turns_mt = {};
turns_mt.__index = turns_mt;

local idle = { waiting = 0, bytes = 0 };

-- Whether a request of so many bytes may wait.
--   group: of the account; by default the account alone
function turns_mt:has_room(account, bytes, group)
	local queue, all = self.queues[account] or idle, self.groups[group or account] or idle;
	return queue.waiting < MAX_WAITING and queue.bytes + bytes <= MAX_WAITING_BYTES
		and all.waiting < MAX_GROUP_WAITING and all.bytes + bytes <= MAX_GROUP_BYTES
		and self.bytes + bytes <= MAX_BYTES;
end

function turns_mt:group_of(name)
	local group = self.groups[name] or { name = name, round = {}, at_work = 0, waiting = 0, bytes = 0 };
	self.groups[name] = group;
	return group;
end

-- Adds a request.
--   start: called when its turn comes; then finish must be called once
--   group: as in has_room
function turns_mt:add(account, bytes, start, group)
	local queue = self.queues[account] or { account = account, at_work = 0, waiting = 0, bytes = 0, first = 1 };
	self.queues[account], queue.group = queue, queue.group or self:group_of(group or account);
	queue[queue.first + queue.waiting] = { bytes = bytes, start = start };
	self:count(queue, 1, bytes);
	self:line_up(queue);
	self:run();
end

-- Counts requests that begin or cease to wait.
function turns_mt:count(queue, number, bytes)
	for _, counted in ipairs { queue, queue.group } do
		counted.waiting, counted.bytes = counted.waiting + number, counted.bytes + bytes;
	end
	self.bytes = self.bytes + bytes;
end

-- Puts an account at the end of its group's round, and the group at the end of the round, if they may have a turn.
function turns_mt:line_up(queue)
	local group = queue.group;
	if not queue.lined_up and queue.waiting > 0 and queue.at_work < MAX_AT_WORK_EACH then
		queue.lined_up = true;
		table.insert(group.round, queue);
	end
	if not group.lined_up and group.round[1] and group.at_work < MAX_AT_WORK_GROUP then
		group.lined_up = true;
		table.insert(self.round, group);
	end
end

-- Returns the account whose turn it is.
function turns_mt:next()
	local group = table.remove(self.round, 1);
	local queue = table.remove(group.round, 1);
	group.lined_up, queue.lined_up = false, false;
	return queue;
end

function turns_mt:take(queue)
	local request = queue[queue.first];
	queue[queue.first] = nil;
	queue.first = queue.first + 1;
	self:count(queue, -1, -request.bytes);
	self:work(queue, 1);
	return request;
end

-- Counts requests that begin or cease to be at work.
function turns_mt:work(queue, number)
	queue.at_work, queue.group.at_work = queue.at_work + number, queue.group.at_work + number;
	self.at_work = self.at_work + number;
end

function turns_mt:run()
	-- A request may finish before its start returns.
	if self.running then return; end
	self.running = true;
	while self.round[1] and self.at_work < MAX_AT_WORK do
		local queue = self:next();
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
	local group = queue.group;
	self:work(queue, -1);
	self:line_up(queue);
	if queue.at_work == 0 and queue.waiting == 0 then self.queues[account] = nil; end
	if group.at_work == 0 and group.waiting == 0 then self.groups[group.name] = nil; end
	self:run();
end

local function new()
	return setmetatable({ queues = {}, groups = {}, round = {}, bytes = 0, at_work = 0 }, turns_mt);
end

return { new = new };
