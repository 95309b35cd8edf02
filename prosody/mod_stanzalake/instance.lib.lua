-- The instance: a random id of the journal, by which two Prosodys that serve one VirtualHost are told apart.

local new_id = require "util.id".long;

local PATTERN = "^([%w_-]+)\n$";

local function read(path)
	local file = io.open(path, "rb");
	local text = file and file:read("a") or "";
	if file then file:close(); end
	return text:match(PATTERN);
end

-- Returns the id in a journal's directory, and makes one if there is none.
local function of(directory)
	local path = directory.."/instance";
	local id = read(path);
	if id then return id; end
	id = new_id();
	local file, err = io.open(path, "wb");
	if file and file:write(id, "\n") and file:close() then return id; end
	module:log("warn", "A second Prosody of this host would not be noticed: %s", err or "the journal's disk is full");
	return id;
end

return { of = of };
