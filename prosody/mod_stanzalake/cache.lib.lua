-- A cache bounded in bytes: two generations, of which the older one is dropped once the newer one has half of them.

-- Bytes that an entry takes besides its key and value.
local OVERHEAD = 128;

local cache_mt = {};
cache_mt.__index = cache_mt;

function cache_mt:get(key)
	local value = self.newer[key];
	if value ~= nil then return value; end
	value = self.older[key];
	if value ~= nil then self:set(key, value); end
	return value;
end

function cache_mt:set(key, value)
	local bytes = OVERHEAD + #key + self.size_of(value);
	if self.bytes + bytes > self.limit / 2 then
		self.older, self.newer, self.bytes = self.newer, {}, 0;
	end
	self.newer[key], self.bytes = value, self.bytes + bytes;
end

function cache_mt:clear()
	self.newer, self.older, self.bytes = {}, {}, 0;
end

--   limit: bytes; a single value that is larger is kept until the next one
--   size_of: gives the bytes of a value
local function new(limit, size_of)
	local cache = setmetatable({ limit = limit, size_of = size_of }, cache_mt);
	cache:clear();
	return cache;
end

return { new = new };
