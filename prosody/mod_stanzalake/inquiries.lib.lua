-- Inquiries: questions to the query components for owners' states, repeated until they are answered.

-- Questions at once, and bytes of the names of owners with an open question; others are asked for with a later message.
local MAX_AT_ONCE, MAX_OPEN_BYTES = 64, 1024 * 1024;
-- Seconds before a failed question is repeated: the first time, and at most.
local FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10;

local queue_mt = {};
queue_mt.__index = queue_mt;

function queue_mt:push(item)
	self.last = self.last + 1;
	self[self.last] = item;
end

function queue_mt:pop()
	local item = self[self.first];
	if item == nil then return nil; end
	self[self.first] = nil;
	self.first = self.first + 1;
	return item;
end

local function new_queue()
	return setmetatable({ first = 1, last = 0 }, queue_mt);
end

local inquiries_mt = {};
inquiries_mt.__index = inquiries_mt;

function inquiries_mt:is_open(question)
	return self.questions[question.owner] == question;
end

-- Opens a question, unless the owner has one.
--   delay: seconds to wait before it is asked; optional
function inquiries_mt:open(owner, delay)
	if self.questions[owner] or self.bytes + #owner > MAX_OPEN_BYTES then return; end
	local question = { owner = owner, failures = 0 };
	self.questions[owner], self.bytes = question, self.bytes + #owner;
	if not delay then return self:line_up(question, self.new); end
	self.add_timer(delay, function ()
		if self:is_open(question) then self:line_up(question, self.new); end
	end);
end

-- Closes the question of an owner, if any: its answer is of the past.
function inquiries_mt:close(owner)
	if not self.questions[owner] then return; end
	self.questions[owner], self.bytes = nil, self.bytes - #owner;
end

function inquiries_mt:close_all()
	self.questions, self.bytes = {}, 0;
end

-- An owner has one place in line, also if a question is closed and another one opened.
function inquiries_mt:line_up(question, queue)
	question.paused, question.waiting = nil, true;
	if not self.in_line[question.owner] then
		self.in_line[question.owner] = true;
		queue:push(question.owner);
	end
	self:run();
end

function inquiries_mt:pause(question)
	question.failures, question.paused = question.failures + 1, true;
	self.add_timer(math.min(FIRST_PAUSE * 2 ^ (question.failures - 1), LONGEST_PAUSE), function ()
		if question.paused and self:is_open(question) then self:line_up(question, self.failed); end
	end);
end

-- New questions first: those that cannot be answered do not delay those that can.
function inquiries_mt:run()
	while not self.away and self.at_work < MAX_AT_ONCE do
		local owner = self.new:pop() or self.failed:pop();
		if not owner then return; end
		self.in_line[owner] = nil;
		local question = self.questions[owner];
		if question and question.waiting then self:put(question); end
	end
end

function inquiries_mt:put(question)
	question.waiting, self.at_work = nil, self.at_work + 1;
	self.ask(question.owner, function (answer, why)
		self.at_work = self.at_work - 1;
		if self:is_open(question) then self:answered(question, answer, why); end
		self:run();
	end);
end

function inquiries_mt:answered(question, answer, why)
	if answer then
		self:close(question.owner);
		self.learn(question.owner, answer);
	elseif why == "away" then
		self.away = true;
		self:line_up(question, self.new);
	elseif why == "gone" then
		self:line_up(question, self.failed);
	else
		self:pause(question);
	end
end

-- Asks at once for whoever has no answer, after a query component has connected.
function inquiries_mt:resume()
	self.away = false;
	for _, question in pairs(self.questions) do
		if question.paused then
			question.failures = 0;
			self:line_up(question, self.failed);
		end
	end
	self:run();
end

--   ask: gets an owner and a function, which it calls once: with the answer, or nil and the reason; "away" if no query
--     component is connected, "gone" if it disconnected before it answered
--   learn: gets an owner and the answer
--   add_timer: gets seconds and a function
local function new(ask, learn, add_timer)
	return setmetatable({
		ask = ask, learn = learn, add_timer = add_timer;
		questions = {}, bytes = 0, at_work = 0, new = new_queue(), failed = new_queue(), in_line = {}, away = false;
	}, inquiries_mt);
end

return { new = new };
