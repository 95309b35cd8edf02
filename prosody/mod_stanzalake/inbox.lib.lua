-- The inbox: requests from other processes, such as prosodyctl, to the module in the server.
--
-- A request is a file, written atomically and deleted once carried out. It survives crashes of both sides, and may
-- be carried out twice.

local json = require "util.json";
local new_id = require "util.id".medium;
local now = require "util.time".now;
local lfs = require "lfs";

-- By its full name, for mod_storage_stanzalake.
local make_directory = module:require "mod_stanzalake/journal".make_directory;

local NAME = "%014d-%s.json";
local PATTERN = "^%d+%-[%w_-]+%.json$";
-- Bytes of a request.
local MAX_SIZE = 8192;
-- Requests per round; further ones wait for the next.
local MAX_ROUND = 1000;

local inbox_mt = {};
inbox_mt.__index = inbox_mt;

local function write(path, text)
	local file, err = io.open(path, "wb");
	if not file then return nil, err; end
	local ok, write_err = file:write(text);
	local closed, close_err = file:close();
	if ok and closed then return true; end
	os.remove(path);
	return nil, write_err or close_err;
end

local function read(path)
	local file, err = io.open(path, "rb");
	if not file then return nil, err; end
	local text = file:read(MAX_SIZE) or "";
	file:close();
	return text;
end

-- Writes a request. Returns the path of its file, or nil and the reason.
function inbox_mt:put(request)
	local made, reason = pcall(make_directory, self.directory);
	if not made then return nil, reason; end
	local path = self.directory.."/"..NAME:format(math.floor(now() * 1000), new_id());
	local ok, err = write(path.."~", json.encode(request));
	if ok then ok, err = os.rename(path.."~", path); end
	return ok and path, err;
end

-- Returns the file names of the oldest requests.
function inbox_mt:names()
	local names = {};
	if not lfs.attributes(self.directory, "mode") then return names; end
	for name in lfs.dir(self.directory) do
		if name:find(PATTERN) then names[#names + 1] = name; end
	end
	table.sort(names);
	return table.move(names, 1, MAX_ROUND, 1, {});
end

-- Carries out one request; an invalid one is renamed and kept.
local function take_one(path, valid, carry_out)
	local text, err = read(path);
	if not text then return nil, err; end
	local request = json.decode(text);
	if not valid(request) then
		module:log("error", "Not a request, so it is kept aside: %s", path);
		return os.rename(path, path..".invalid");
	end
	local done, reason = carry_out(request);
	if not done then return nil, reason; end
	return os.remove(path);
end

-- Carries out the requests; failed ones stay for the next round.
--   valid: returns whether a value is a request
--   carry_out: carries a request out; returns true, or nil and the reason
-- Returns whether all succeeded, and the reason of the first failure.
function inbox_mt:take(valid, carry_out)
	local trouble;
	for _, name in ipairs(self:names()) do
		local done, reason = take_one(self.directory.."/"..name, valid, carry_out);
		if not done then trouble = trouble or reason; end
	end
	return trouble == nil, trouble;
end

--   directory: of the journal
local function new(directory)
	return setmetatable({ directory = directory.."/inbox" }, inbox_mt);
end

return { new = new };
