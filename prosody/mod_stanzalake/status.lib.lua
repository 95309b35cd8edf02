-- The status of a host's tap, from its journal and heartbeat, for prosodyctl.

local config = require "core.configmanager";
local datetime = require "util.datetime".datetime;
local human_size = require "util.human.units".format;
local lfs = require "lfs";

local backlog = module:require "backlog";
local directory = module:require "directory";
local heartbeat = module:require "heartbeat";
local inboxes = module:require "inbox";
local options = module:require "options";

-- The errno of a file that does not exist.
local ENOENT = 2;
-- The share of the journal's limit that counts as a fault.
local NEARLY_FULL = 0.8;

local function say(text, ...)
	print(text:format(...));
end

local function read_settings(host)
	return options.read(function (name) return config.get(host, name); end, directory.of(host));
end

-- Returns the reason for which a journal cannot be read, or nil; one that does not exist yet is empty.
local function unreadable(journal_dir)
	local mode, err, errno = lfs.attributes(journal_dir, "mode");
	if not mode then return errno ~= ENOENT and err or nil; end
	local ok, reason, handle = pcall(lfs.dir, journal_dir);
	if not ok then return reason; end
	handle:close();
	local file, reason_of_file, errno_of_file = io.open(heartbeat.path_of(journal_dir), "rb");
	if file then file:close(); end
	return not file and errno_of_file ~= ENOENT and reason_of_file or nil;
end

-- Returns the status of a host's tap, as `status --json` shows it.
local function of(host)
	local ok, settings = pcall(read_settings, host);
	if not ok then return { error = settings }; end
	local reason = unreadable(settings.journal_dir);
	if reason then return { error = reason..": run prosodyctl as root or as Prosody's user" }; end
	local state, waiting = heartbeat.read(settings.journal_dir), backlog.read(settings.journal_dir);
	return {
		running = state.running, waiting_bytes = waiting.waiting, limit_bytes = settings.journal_limit;
		share = waiting.waiting / settings.journal_limit, segments = waiting.segments;
		oldest = waiting.oldest and datetime(waiting.oldest);
		acknowledged = state.acked_at and datetime(state.acked_at);
		requests = #inboxes.new(settings.journal_dir):names();
		lost = state.lost, ahead_seconds = state.ahead;
		trouble = state.trouble, since = state.since and datetime(state.since);
		ingest = state.ingest, query = state.query;
	};
end

local function any_connected(components)
	for _, connected in pairs(components or {}) do
		if connected then return true; end
	end
	return false;
end

local function is_well(state)
	return state.running and not state.trouble and (state.lost or 0) == 0 and not state.ahead_seconds
		and state.share < NEARLY_FULL
		and any_connected(state.ingest) and any_connected(state.query) or false;
end

local function show_components(kind, components)
	local names = {};
	for name in pairs(components) do names[#names + 1] = name; end
	table.sort(names);
	for _, name in ipairs(names) do
		say("  %-13s %s %s", kind, name, components[name] and "is connected" or "is NOT connected");
	end
end

local function show(host, state)
	say("%s", host);
	if state.error then return say("  %-13s %s", "error", state.error); end
	say("  %-13s %s", "Prosody", state.running and "runs" or "does NOT run, or has not loaded mod_stanzalake");
	say("  %-13s %s wait for ingest, %.1f %% of the limit of %s", "journal", human_size(state.waiting_bytes, "B", "b"),
		100 * state.share, human_size(state.limit_bytes, "B", "b"));
	say("  %-13s %d", "segments", state.segments);
	say("  %-13s %s", "oldest", state.oldest or "nothing waits");
	say("  %-13s %s", "acknowledged", state.acknowledged or "nothing since the last start");
	say("  %-13s %d wait to be taken up", "requests", state.requests);
	if state.running then
		show_components("ingest", state.ingest);
		show_components("query", state.query);
	end
	if state.ahead_seconds then
		say("  %-13s the last position is %.1f hours ahead of the clock", "AHEAD", state.ahead_seconds / 3600);
	end
	if (state.lost or 0) > 0 then
		say("  %-13s %d events vanished from the journal since the last start", "LOST", state.lost);
	end
	if state.trouble then say("  %-13s %s, since %s", "TROUBLE", state.trouble, state.since); end
end

return { of = of, is_well = is_well, show = show };
