-- Requests of prosodyctl, by way of the inbox, of accounts and rooms that are removed, and of users who choose for how
-- long their archive is kept: erasures, expiries and retentions, which are written to the journal as events, and
-- refreshes of the tap's knowledge of archives.

local get_provider = require "core.usermanager".get_provider;
local jid = require "util.jid";
local quoted = require "util.json".encode;

local directory = module:require "directory";

local host = module.host;
local has_accounts = directory.kind_of(host) == "accounts";

-- Seconds between two readings of the inbox.
local INTERVAL = 1;
local MAX_BY = 255;

-- As in event.lib.lua, the position comes early.
local ERASURE = '{"type":"erasure","v":1,"position":%d,"owner":%s,"peer":"","start":0,"end":%d,"account":%s,"by":%s}\n';
local EXPIRY = '{"type":"expiry","v":1,"position":%d,"owner":%s}\n';

local RETENTION = '{"type":"retention","v":1,"position":%d,"owner":%s,"seconds":%d,"by":%s}\n';

local encoders = {};

function encoders.erasure(request, position)
	return ERASURE:format(position, quoted(request.owner), position, request.account, quoted(request.by));
end

function encoders.expiry(request, position)
	return EXPIRY:format(position, quoted(request.owner));
end

function encoders.retention(request, position)
	return RETENTION:format(position, quoted(request.owner), request.seconds, quoted(request.by));
end

local validators = {};

function validators.erasure(request)
	local user, domain, resource = jid.prepped_split(request.owner);
	return user and domain == host and not resource and jid.join(user, domain) == request.owner
		and type(request.account) == "boolean" and (has_accounts or not request.account)
		and type(request.by) == "string" and #request.by <= MAX_BY;
end

function validators.expiry(request)
	return request.owner == host;
end

function validators.refresh(request)
	local user, domain, resource = jid.prepped_split(request.owner);
	return domain == host and not resource and jid.join(user, domain) == request.owner;
end

local function valid(request)
	local check = type(request) == "table" and validators[request.type];
	return check and type(request.owner) == "string" and check(request);
end

local requests_mt = {};
requests_mt.__index = requests_mt;

-- Returns true once the event is in the journal, or nil and the reason.
function requests_mt:write(request)
	local position = self.sequence:next(request.owner);
	local place, err = self.journal:append(encoders[request.type](request, position));
	if not place then return nil, err; end
	self.sender:wrote(request.owner, place, position);
	if request.account or request.type == "retention" then self.sender:wrote_state(place); end
	if request.type == "erasure" then self.preferences:erased(request.owner, request.account); end
	module:log("info", "To the archive: %s of %s, by %s", request.type, request.owner, request.by or "prosodyctl");
	return true;
end

-- prosodyctl removes accounts without the server, whose sessions would continue and be archived.
local function end_sessions(owner)
	local user = jid.node(owner);
	local account = prosody.hosts[host].sessions[user];
	if not account or get_provider(host).user_exists(user) then return; end
	for _, session in pairs(account.sessions) do
		session:close({ condition = "not-authorized", text = "Account deleted" });
	end
end

function requests_mt:refresh(owner)
	if jid.node(owner) then return self.preferences:refresh(owner); end
	return self.preferences:refresh_all();
end

function requests_mt:carry_out(request)
	if request.type == "refresh" then return self:refresh(request.owner); end
	if request.account then end_sessions(request.owner); end
	return self:write(request);
end

-- Logs once that requests wait, and once that they are done.
function requests_mt:report(trouble)
	if trouble and not self.trouble then
		module:log("error", "Requests to the archive wait, and are tried again each second: %s", trouble);
	elseif self.trouble and not trouble then
		module:log("info", "Requests to the archive are carried out again");
	end
	self.trouble = trouble;
end

-- Moves requests from memory to the inbox, which had no room for them before.
function requests_mt:empty_memory()
	while self.memory[1] and self.inbox:put(self.memory[1]) do
		table.remove(self.memory, 1);
	end
end

function requests_mt:round()
	self:empty_memory();
	-- An error would end the timer, and with it all requests to come.
	local called, done, trouble = pcall(self.inbox.take, self.inbox, valid, function (request)
		return self:carry_out(request);
	end);
	if called then self:report(trouble); else self:report(done); end
end

-- Writes the erasure of a removed account or room; a full journal leaves it in the inbox, and a full disk in memory.
function requests_mt:erase(owner, account, by)
	local request = { type = "erasure", owner = owner, account = account, by = by };
	local ok, err = self:write(request);
	if ok then return; end
	local subject = account and "account" or "room";
	module:log("error", "The archive of the removed %s %s is not erased yet: %s", subject, owner, err);
	local kept, reason = self.inbox:put(request);
	if kept then return; end
	table.insert(self.memory, request);
	module:log("error", "That %s is removed is lost if Prosody ends before there is room: %s", owner, reason);
end

function requests_mt:start()
	self:round();
	module:add_timer(INTERVAL, function ()
		self:round();
		return INTERVAL;
	end);
end

local function new(inbox, journal, sequence, sender, preferences)
	return setmetatable({
		inbox = inbox, journal = journal, sequence = sequence, sender = sender, preferences = preferences, memory = {};
	}, requests_mt);
end

return { new = new };
