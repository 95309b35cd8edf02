-- The heartbeat: a file beside the journal with the running module's state, for prosodyctl.

local json = require "util.json";

-- Seconds between two heartbeats, and without any until the module counts as stopped.
local INTERVAL = 2;
local SILENCE = 15;
-- Seconds ahead of the clock beyond which a position shows that the clock was wrong.
local MAX_AHEAD = 3600;

local heartbeat_mt = {};
heartbeat_mt.__index = heartbeat_mt;

local function connections(jids)
	local states = {};
	for _, jid in ipairs(jids) do
		local host = prosody.hosts[jid];
		local component = host and host.modules.component;
		states[jid] = component ~= nil and component.connected == true;
	end
	return states;
end

-- Keeps the time of the last change of shipping's state, and of the last acknowledgement.
function heartbeat_mt:observe(now)
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
	self:observe(now);
	self:check_sequence();
	self.journal:check_newest();
	local text = json.encode {
		at = now, running = running, acked_at = self.acked_at;
		trouble = self.trouble, since = self.trouble and self.since, lost = self.sender.lost, ahead = self.ahead;
		ingest = connections(self.settings.ingest), query = connections(self.settings.query);
	};
	local file = io.open(self.path.."~", "wb");
	if not file then return; end
	file:write(text);
	-- prosodyctl takes a torn file for a stopped module.
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

-- Returns the last heartbeat in a journal's directory; running is false without a recent one.
local function read(directory)
	local file = io.open(path_of(directory), "rb");
	local values = file and json.decode(file:read("a") or "");
	if file then file:close(); end
	local alive = type(values) == "table" and values.running and os.time() - values.at <= SILENCE;
	return alive and values or { running = false };
end

return { new = new, read = read, path_of = path_of };
