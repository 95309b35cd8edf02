-- Delivery: sends pages to sessions in slices of Prosody's time, so that nobody else waits for them.

-- Seconds of a slice; a single message is never divided.
local SLICE = 0.005;

local delivery_mt = {};
delivery_mt.__index = delivery_mt;

-- Runs a step of the next session's first page, and moves the session to the end of the round.
function delivery_mt:step()
	local pages = table.remove(self.round, 1);
	local page = pages[1];
	-- An error would end the timer, and with it the pages of all other sessions.
	local called, more = pcall(page.step);
	if not called or not more then
		table.remove(pages, 1);
		page.finish(not called and more or nil);
	end
	if pages[1] then
		table.insert(self.round, pages);
	else
		self.sessions[pages.session] = nil;
	end
end

function delivery_mt:run()
	local stop = self.now() + SLICE;
	while self.round[1] and self.now() < stop do self:step(); end
	return self.round[1] ~= nil;
end

-- Adds a page. The pages of a session are sent one after the other.
--   step: does a small part of the work; called until it returns false
--   finish: called once afterwards, with the error of a step, if any
function delivery_mt:add(session, step, finish)
	local pages = self.sessions[session];
	if not pages then
		pages = { session = session };
		self.sessions[session] = pages;
		table.insert(self.round, pages);
	end
	table.insert(pages, { step = step, finish = finish });
	if self.timer then return; end
	self.timer = self.add_timer(0, function ()
		if self:run() then return 0; end
		self.timer = nil;
	end);
end

-- Sends all remaining pages before the module is unloaded.
function delivery_mt:close()
	while self.round[1] do self:step(); end
end

--   now: returns the time in seconds
--   add_timer: as Prosody's; a callback that returns 0 is called again after other work
local function new(now, add_timer)
	return setmetatable({ now = now, add_timer = add_timer, sessions = {}, round = {} }, delivery_mt);
end

return { new = new };
