-- The command `prosodyctl mod_stanzalake`, which runs in its own process, with or without the server.

local human_io = require "util.human.io";
local jid = require "util.jid";
local json = require "util.json";
local lfs = require "lfs";
local time = require "util.time";
local now, elapsed = time.now, time.monotonic;
local set = require "util.set";
local sleep = require "socket".sleep;

local ahead = module:require "ahead";
local backlog = module:require "backlog";
local directory = module:require "directory";
local heartbeat = module:require "heartbeat";
local inboxes = module:require "inbox";
local journals = module:require "journal";
local status = module:require "status";

local USAGE = [[
Usage: prosodyctl mod_stanzalake COMMAND

 status [--json] [HOST ...]
    What waits in the journal, and whether it is taken.

 delete [--yes] [--account] [--wait SECONDS] USER@HOST
    Erases everything that is archived of an account or a room until now, for good. The account or room stays, and
    what comes later is archived. Asks first, unless --yes.
    --account: its preferences as well, as for an account that was removed outside of Prosody. What Prosody
    removes itself (prosodyctl deluser, by the user, by an admin) needs no such command.
    For less than everything, see `stanzalake delete` where the archive runs.

 expire [--wait SECONDS] [HOST ...]
    Removes what has expired now, not at the next round.

 rewind HOST FILE
    Puts the positions of a host back to the clock, after a clock that was wrong put them ahead of it. FILE is
    what `stanzalake ahead` printed. Prosody has to be stopped, and its journal to be taken by ingest before.

 refresh [--wait SECONDS] [USER@HOST | HOST ...]
    Has Prosody ask the query service again what accounts want archived. It learns of their own choices by itself;
    this is for after `stanzalake import` or `stanzalake restore` changed them.

HOST is a VirtualHost or MUC component with mod_stanzalake; without one, all of them are meant.
--wait: how long to wait until the request is in the log (30); 0 is not at all. It is carried out in any case:
if Prosody does not run, at its next start.

Exit status: 0 all is well, or the request is in the log; 1 an error, or not confirmed; 2 a wrong command line;
3 something is amiss, or the request is not in the log yet.
]];

local FINE, FAILED, MISUSED, WAITING = 0, 1, 2, 3;
local WAIT = 30; -- seconds
local POLL = 0.1; -- seconds

local function say(text, ...)
	print(text:format(...));
end

local function complain(text, ...)
	io.stderr:write(text:format(...), "\n");
end

local readers = {
	flag = function () return true; end;
	seconds = function (args)
		local seconds = tonumber(table.remove(args, 1));
		return seconds and seconds >= 0 and seconds or nil;
	end;
};

-- Parses a command line into operands and options. Returns nil and the reason if it is invalid.
local function parse(args, known)
	local parsed = { wait = WAIT };
	while args[1] do
		local arg = table.remove(args, 1);
		local name = arg:match("^%-%-?(.+)$");
		if not name then
			parsed[#parsed + 1] = arg;
		elseif not known[name] then
			return nil, "unknown option "..arg;
		else
			parsed[name] = readers[known[name]](args);
			if parsed[name] == nil then return nil, arg.." needs a number of seconds"; end
		end
	end
	return parsed;
end

-- Returns the hosts named on the command line, else all; or nil and the reason.
local function chosen_hosts(named)
	local known = directory.hosts();
	if not known[1] then return nil, "no host has \"stanzalake\" in its modules_enabled"; end
	for i, name in ipairs(named) do
		named[i] = jid.prep(name);
		if not set.new(known):contains(named[i]) then
			return nil, ("%s is no host with mod_stanzalake; these are: %s"):format(name, table.concat(known, ", "));
		end
	end
	return named[1] and named or known;
end

local function wait_for(condition, deadline)
	while not condition() do
		if elapsed() >= deadline then return false; end
		sleep(POLL);
	end
	return true;
end

-- Waits until a request is carried out, or in the log if it is an event. Returns the exit status.
local function follow(host, path, wait, is_event)
	local deadline, where = elapsed() + wait, directory.of(host);
	if wait == 0 then
		say("%s: requested.", host);
		return FINE;
	end
	if not heartbeat.read(where).running then
		say("%s: requested. Prosody does not run, and does it at its next start.", host);
		return WAITING;
	end
	if not wait_for(function () return not lfs.attributes(path, "mode"); end, deadline) then
		say("%s: requested, but Prosody has not taken it up within %g s; its log says why. It stays requested.", host, wait);
		return WAITING;
	end
	if not is_event then
		say("%s: done.", host);
		return FINE;
	end
	-- The request was written before its file was deleted.
	local offset = backlog.read(where).written;
	if not wait_for(function () return backlog.acked(where) >= offset; end, deadline) then
		say("%s: in Prosody's journal, but ingest has not taken it within %g s. It is sent until it does; see "
			.."`prosodyctl mod_stanzalake status`.", host, wait);
		return WAITING;
	end
	say("%s: in the log; the processor carries it out as soon as it comes to it.", host);
	return FINE;
end

local function request(host, event, wait)
	local path, err = inboxes.new(directory.of(host)):put(event);
	if not path then
		complain("%s: cannot be requested: %s", host, err);
		return FAILED;
	end
	return follow(host, path, wait, event.type ~= "refresh");
end

local function is_confirmed(owner)
	local answer = human_io.show_prompt(("Erase the whole archive of %s, for good? [y/N]"):format(owner));
	return answer ~= nil and answer:lower():match("^y") ~= nil;
end

local commands = {};

function commands.status(args)
	local hosts, err = chosen_hosts(args);
	if not hosts then return FAILED, err; end
	local states, code = {}, FINE;
	for _, host in ipairs(hosts) do
		states[host] = status.of(host);
		if not status.is_well(states[host]) then code = WAITING; end
		if not args.json then status.show(host, states[host]); end
	end
	if args.json then say("%s", json.encode(states)); end
	return code;
end

function commands.expire(args)
	local hosts, err = chosen_hosts(args);
	if not hosts then return FAILED, err; end
	local code = FINE;
	for _, host in ipairs(hosts) do
		code = math.max(code, request(host, { type = "expiry", owner = host }, args.wait));
	end
	return code;
end

function commands.delete(args)
	local user, host, resource = jid.prepped_split(args[1]);
	if not user or resource or args[2] then return MISUSED, "delete needs one USER@HOST"; end
	local hosts, err = chosen_hosts { host };
	if not hosts then return FAILED, err; end
	local owner = jid.join(user, host);
	if args.account and directory.kind_of(host) ~= "accounts" then return MISUSED, host.." has no accounts"; end
	if not args.yes and not is_confirmed(owner) then return FAILED, "nothing is deleted"; end
	local code = request(host, {
		type = "erasure", owner = owner, account = args.account or false, by = "prosodyctl";
	}, args.wait);
	if code ~= FAILED then say("From then on no reader finds it; when its bytes go: docs/operating.md, \"Erasure\"."); end
	return code;
end

-- Reads the output of `stanzalake ahead`. Returns the owners of a host, or nil and the reason.
local function read_owners(path, host)
	local file, err = io.open(path, "rb");
	if not file then return nil, err; end
	local expected, count, owners = file:read("l"), 0, {};
	for owner in file:lines() do
		count = count + 1;
		if jid.host(owner) == host then owners[owner] = true; end
	end
	file:close();
	if expected ~= ("owners %d"):format(count) then
		return nil, path.." is not the whole output of `stanzalake ahead`";
	end
	return owners;
end

function commands.rewind(args)
	local path = args[2];
	if not path or args[3] then return MISUSED, "rewind needs a HOST and a FILE"; end
	local hosts, err = chosen_hosts { args[1] };
	if not hosts then return FAILED, err; end
	local host, where = hosts[1], directory.of(hosts[1]);
	if heartbeat.read(where).running then return FAILED, "stop Prosody first"; end
	local journal = journals.open(where, math.maxinteger, math.maxinteger);
	if journal.acked < journal.written then
		return FAILED, "events wait in the journal: start Prosody, and stop it once `status` says that nothing waits";
	end
	local owners, why = read_owners(path, host);
	if not owners then return FAILED, why; end
	local ok, reason = ahead.rewind(journal, owners, now());
	if not ok then return FAILED, reason; end
	say("%s: positions go on from the clock, those of the accounts in %s from where they are.", host, path);
	return FINE;
end

-- Returns the normalised accounts and hosts of a command line, else all hosts; or nil and the reason.
local function chosen_owners(args)
	local owners, named = {}, {};
	for i, arg in ipairs(args) do
		local user, host, resource = jid.prepped_split(arg);
		if not host or resource then return nil, arg.." is neither USER@HOST nor HOST"; end
		owners[i], named[i] = jid.join(user, host), host;
	end
	local hosts, err = chosen_hosts(named);
	if not hosts then return nil, err; end
	return owners[1] and owners or hosts;
end

function commands.refresh(args)
	local owners, err = chosen_owners(args);
	if not owners then return FAILED, err; end
	local code = FINE;
	for _, owner in ipairs(owners) do
		code = math.max(code, request(jid.host(owner), { type = "refresh", owner = owner }, args.wait));
	end
	return code;
end

local known_options = {
	refresh = { wait = "seconds" };
	status = { json = "flag" };
	expire = { wait = "seconds" };
	rewind = {};
	delete = { yes = "flag", account = "flag", wait = "seconds" };
};

-- Runs a command line. Returns the exit status.
local function run(args)
	local name = table.remove(args, 1);
	if not name or name == "--help" or name == "-h" or args[1] == "--help" then
		io.write(USAGE);
		return name and FINE or MISUSED;
	end
	local parsed, err = nil, "unknown command "..name;
	if commands[name] then parsed, err = parse(args, known_options[name]); end
	if not parsed then
		complain("%s\nSee prosodyctl mod_stanzalake --help", err);
		return MISUSED;
	end
	local code, reason = commands[name](parsed);
	if reason then complain("%s", reason); end
	return code;
end

return { run = run };
