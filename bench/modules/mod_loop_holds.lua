-- Loop holds: for how long single handlers hold Prosody's loop, as the time between two waits for events.
--
-- An iq <longest xmlns='urn:stanzalake:bench:holds'/> to the host returns the longest since the last such iq, in
-- seconds of the wall clock and of CPU time.

local poll = require "util.poll";
local st = require "util.stanza";
local wall = require "util.time".monotonic;

local xmlns = "urn:stanzalake:bench:holds";
local cpu = os.clock;

local methods = getmetatable(poll.new()).__index;
local wait = methods.wait;
local longest = { wall = 0, cpu = 0 };
local since = { wall = wall(), cpu = cpu() };

function methods.wait(...)
	longest.wall = math.max(longest.wall, wall() - since.wall);
	longest.cpu = math.max(longest.cpu, cpu() - since.cpu);
	local fd, readable, writable = wait(...);
	since.wall, since.cpu = wall(), cpu();
	return fd, readable, writable;
end

function module.unload()
	methods.wait = wait;
end

module:hook("iq-get/host/"..xmlns..":longest", function (event)
	event.origin.send(st.reply(event.stanza):tag("longest", {
		xmlns = xmlns, wall = ("%.6f"):format(longest.wall), cpu = ("%.6f"):format(longest.cpu);
	}));
	longest.wall, longest.cpu = 0, 0;
	return true;
end);
