-- Delivery: hands pages to the sessions that asked for them, a little at a time, so that nobody else waits for it.

-- Seconds of Prosody's loop at a time; a single message that takes longer is not divided.
local SLICE = 0.01;

local delivery_mt = {};
delivery_mt.__index = delivery_mt;

-- Does a step of the first page of the next session, and puts the session at the end of the round.
function delivery_mt:step()
	local pages = table.remove(self.round, 1);
	local page = pages[1];
	-- An error would end the timer, and with it the pages of all others.
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

-- Adds a page. A session gets its pages one after the other.
--   step: does a small part of the work; called until it gives false
--   finish: called once behind it, with an error if a step had one
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

-- Hands out all that is left, for when the module is unloaded.
function delivery_mt:close()
	while self.round[1] do self:step(); end
end

--   now: gives seconds
--   add_timer: as Prosody's; a timer that gives 0 is called again after other work
local function new(now, add_timer)
	return setmetatable({ now = now, add_timer = add_timer, sessions = {}, round = {} }, delivery_mt);
end

return { new = new };
