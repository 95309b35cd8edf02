-- The heartbeat: a file beside the journal in which the running module says how it is, for prosodyctl to read.

local json = require "util.json";

-- Seconds between two, and seconds without one after which the module does not run.
local INTERVAL = 2;
local SILENCE = 15;
-- Seconds from which on a position ahead of the clock is no matter of clocks that are set.
local MAX_AHEAD = 3600;

local heartbeat_mt = {};
heartbeat_mt.__index = heartbeat_mt;

local function connected(jids)
	local states = {};
	for _, jid in ipairs(jids) do
		local host = prosody.hosts[jid];
		local component = host and host.modules.component;
		states[jid] = component ~= nil and component.connected == true;
	end
	return states;
end

-- Remembers since when shipping is as it is, and when ingest last took something.
function heartbeat_mt:look(now)
	local trouble, acked = self.sender.trouble, self.journal.acked;
	if trouble ~= self.trouble then self.trouble, self.since = trouble, now; end
	if acked ~= self.acked then self.acked, self.acked_at = acked, now; end
end

-- Logs once that a clock was wrong, which shows in positions that are far ahead.
function heartbeat_mt:check_sequence()
	local ahead = self.sender.sequence:ahead();
	local is_far = ahead > MAX_AHEAD;
	if is_far and not self.ahead then
		module:log("error", "The last position is %.1f hours ahead of the clock: until then every message bears that "
			.."time. See docs/operating.md, Positions ahead of the clock", ahead / 3600);
	end
	self.ahead = is_far and math.floor(ahead) or nil;
end

function heartbeat_mt:beat(running)
	local now = os.time();
	self:look(now);
	self:check_sequence();
	self.journal:check_newest();
	local text = json.encode {
		at = now, running = running, acked_at = self.acked_at;
		trouble = self.trouble, since = self.trouble and self.since, lost = self.sender.lost, ahead = self.ahead;
		ingest = connected(self.settings.ingest), query = connected(self.settings.query);
	};
	local file = io.open(self.path.."~", "wb");
	if not file then return; end
	file:write(text);
	-- A torn one would be taken for a dead one.
	if file:close() then os.rename(self.path.."~", self.path); end
end

function heartbeat_mt:start()
	self:beat(true);
	module:add_timer(INTERVAL, function ()
		self:beat(true);
		return INTERVAL;
	end);
end

function heartbeat_mt:stop()
	self:beat(false);
end

local function path_of(directory)
	return directory.."/status";
end

local function new(journal, sender, settings)
	return setmetatable({
		path = path_of(settings.journal_dir), journal = journal, sender = sender, settings = settings;
		acked = journal.acked;
	}, heartbeat_mt);
end

-- Gives the last heartbeat of a journal's directory, or that the module does not run.
local function read(directory)
	local file = io.open(path_of(directory), "rb");
	local values = file and json.decode(file:read("a") or "");
	if file then file:close(); end
	local alive = type(values) == "table" and values.running and os.time() - values.at <= SILENCE;
	return alive and values or { running = false };
end

return { new = new, read = read, path_of = path_of };
