-- The configuration that the server and prosodyctl both read: journal directories and archived hosts.

local config = require "core.configmanager";
local get_modules_for_host = require "core.modulemanager".get_modules_for_host;
local path_encode = require "util.datamanager".path_encode;

local function of(host)
	return config.get(host, "stanzalake_journal_dir")
		or ("%s/%s/stanzalake"):format(prosody.paths.data, path_encode(host));
end

-- Returns the kind of archives that a host has: "accounts", "rooms", or nil for a component of another kind.
local function kind_of(host)
	local component = config.get(host, "component_module");
	if not component then return "accounts"; end
	return component == "muc" and "rooms" or nil;
end

-- Returns whether the tap is enabled on a host.
local function is_archived(host)
	return config.get(host, "enabled") ~= false and kind_of(host) ~= nil
		and get_modules_for_host(host):contains("stanzalake");
end

-- Returns whether Prosody is configured to notify mod_storage_stanzalake of removed accounts.
local function is_told_of_purges(host)
	local storage = config.get(host, "storage");
	for _, driver in pairs(type(storage) == "table" and storage or {}) do
		if driver == "stanzalake" then return true; end
	end
	return false;
end

-- Returns the names of all hosts with the tap.
local function hosts()
	local names = {};
	for host in pairs(config.getconfig()) do
		if host ~= "*" and is_archived(host) then names[#names + 1] = host; end
	end
	table.sort(names);
	return names;
end

return { of = of, kind_of = kind_of, is_archived = is_archived, hosts = hosts, is_told_of_purges = is_told_of_purges };
