-- Options: what the operator wrote, checked at load. Every option is named stanzalake_<name>.

local jid_prep = require "util.jid".prep;

local MIN_KEY_LENGTH = 32;
local KiB = 1024;

local function items(value)
	if type(value) == "string" then
		local list = {};
		for item in value:gmatch("%s*([^,]*[^,%s])") do list[#list + 1] = item; end
		return list;
	end
	return type(value) == "table" and value or {};
end

local function keys(value)
	local list = items(value);
	for _, key in ipairs(list) do
		if type(key) ~= "string" or (utf8.len(key) or 0) < MIN_KEY_LENGTH then return nil; end
	end
	return list[1] and list;
end

local function domains(value)
	local list = {};
	for i, item in ipairs(items(value)) do
		list[i] = type(item) == "string" and jid_prep(item);
		if not list[i] or list[i]:find("[@/]") then return nil; end
	end
	return list[1] and list;
end

local function text(value)
	return type(value) == "string" and value ~= "" and value or nil;
end

-- Gives the policy in the words of XEP-0441; those of PROSODY_ARCHIVE_POLICY and of default_archive_policy are taken.
local POLICIES = {
	[true] = "always", [false] = "never", ["true"] = "always", ["false"] = "never";
	always = "always", never = "never", roster = "roster";
};

local function policy(value)
	return POLICIES[value];
end

local SWITCHES = { [true] = true, [false] = false, ["true"] = true, ["false"] = false };

local function switch(value)
	return SWITCHES[value];
end

-- Gives a set.
local function namespaces(value)
	local given = type(value) == "string" and items(value) or value;
	if type(given) ~= "table" then return nil; end
	local set = { ["http://jabber.org/protocol/chatstates"] = true, ["urn:xmpp:jingle-message:0"] = true };
	for _, item in ipairs(given) do
		if type(item) ~= "string" or not item:find("^%S+$") then return nil; end
		set[item] = true;
	end
	return set;
end

local function number(least, most)
	return function (value)
		return type(value) == "number" and value >= least and value <= most and value or nil;
	end, ("a number from %s to %s"):format(least, most);
end

local function bytes(least, most)
	local check = number(least, most);
	return function (value)
		return math.tointeger(check(value));
	end, ("a whole number from %d to %d"):format(least, most);
end

local KEYS = "one or more keys of at least 32 characters, the same as STANZALAKE_ID_KEYS of the query service";
local DOMAINS = "one or more domains, as a list or with commas";
local POLICY = "true, false or \"roster\", as PROSODY_ARCHIVE_POLICY of the processor";
local NAMESPACES = "namespaces, as a list or with commas, as in PROSODY_ARCHIVE_EXCLUDE_NAMESPACES of the processor";
local SWITCH = "true or false, as PROSODY_MAM_SMART_ENABLE of the services";

local function option(default, check, allowed)
	return { default = default, check = check, allowed = allowed };
end

local known = {
	id_keys = option(nil, keys, KEYS);
	ingest = option("ingest.stanzalake", domains, DOMAINS);
	query = option("query.stanzalake", domains, DOMAINS);
	policy = option("roster", policy, POLICY);
	smart = option(false, switch, SWITCH);
	exclude_namespaces = option({}, namespaces, NAMESPACES);
	journal_dir = option(nil, text, "a directory");
	journal_limit = option(KiB ^ 3, bytes(64 * KiB, KiB ^ 4));
	segment_size = option(4 * KiB ^ 2, bytes(64 * KiB, KiB ^ 3));
	batch_bytes = option(128 * KiB, bytes(KiB, KiB ^ 2));
	window = option(8, bytes(1, 64));
	ack_timeout = option(10, number(0.1, 300));
	freshness_timeout = option(5, number(0, 60));
	query_timeout = option(30, number(0.1, 600));
};

-- A value that cannot be used is an error that names the option; values are not shown, as some are secret.
local function read(get, default_journal_dir)
	local values = {};
	for name, o in pairs(known) do
		local given = get("stanzalake_"..name);
		if given == nil then given = o.default; end
		if given == nil and name == "journal_dir" then given = default_journal_dir; end
		values[name] = o.check(given);
		if values[name] == nil then
			error(("stanzalake_%s cannot be used: expected %s"):format(name, o.allowed), 0);
		end
	end
	return values;
end

return { read = read };
