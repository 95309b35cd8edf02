-- Requests for other people's archives: counts and logs them, and leaves the refusal to Prosody.

-- A clock that no step of the wall clock moves.
local now = require "util.time".monotonic;

local xmlns_mam = "urn:xmpp:mam:2";

-- Seconds between lines of the log, however many are refused.
local LOG_INTERVAL = 10;

-- Gives a function that tells whether a line is due, and how many were left out since the last one.
local function new_throttle()
	local due, skipped = 0, 0;
	return function ()
		if now() < due then
			skipped = skipped + 1;
			return false;
		end
		local left_out = skipped;
		due, skipped = now() + LOG_INTERVAL, 0;
		return true, left_out;
	end;
end

--   count: called with 1 for each request
local function watch(count)
	local is_due = new_throttle();
	local function on_iq(event)
		if event.to_self then return; end
		count(1);
		local due, left_out = is_due();
		if due then
			module:log("warn", "%s was refused the archive of %s (%d more refused since the last such line)",
				event.stanza.attr.from, event.stanza.attr.to, left_out);
		end
	end
	for _, name in ipairs { "query", "prefs", "metadata" } do
		module:hook("iq/bare/"..xmlns_mam..":"..name, on_iq, 1);
	end
end

return { watch = watch };
