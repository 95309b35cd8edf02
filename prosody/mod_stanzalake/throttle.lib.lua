-- A throttle for lines of the log that users can cause, however often they do.

-- A clock that no step of the wall clock moves.
local now = require "util.time".monotonic;

-- Seconds between lines.
local INTERVAL = 10;

-- Gives a function that tells whether a line is due, and how many were left out since the last one.
local function new()
	local due, skipped = 0, 0;
	return function ()
		if now() < due then
			skipped = skipped + 1;
			return false;
		end
		local left_out = skipped;
		due, skipped = now() + INTERVAL, 0;
		return true, left_out;
	end;
end

return { new = new };
