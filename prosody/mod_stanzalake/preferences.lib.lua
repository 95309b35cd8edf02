-- Preferences: the state of each owner's archive that the verdict needs, learned from the requests that pass through
-- and kept in Prosody's storage. Whatever may have changed it is in doubt until the query component has answered.

local it = require "util.iterators";
local jid_node = require "util.jid".node;

local caches = module:require "cache";
local inquiries = module:require "inquiries";

-- Bytes of states in memory.
local CACHE_LIMIT = 16 * 1024 * 1024;
-- Bytes that a JID in a list takes besides its characters.
local JID_OVERHEAD = 64;
-- Accounts with a session that are looked up at a time, and seconds between: Prosody goes on meanwhile.
local SLICE, INTERVAL = 20, 0.02;

local preferences_mt = {};
preferences_mt.__index = preferences_mt;

local function set_of(list)
	local set, bytes = {}, 0;
	for _, jid in ipairs(list or {}) do
		set[jid], bytes = true, bytes + #jid + JID_OVERHEAD;
	end
	return set, bytes;
end

-- Shared, as most owners never choose.
local without_preferences = {
	[true] = { known = true, activated = true, bytes = 0 };
	[false] = { known = true, activated = false, bytes = 0 };
};

-- After the removal of its account: of this nothing is stored until there is an account again.
local removed = { known = true, activated = false, bytes = 0 };

local function state_of(record)
	if not record.default then return without_preferences[record.activated or false]; end
	local always, always_bytes = set_of(record.always);
	local never, never_bytes = set_of(record.never);
	return {
		known = true, activated = true, default = record.default, always = always, never = never;
		bytes = always_bytes + never_bytes;
	};
end

local function position_of(text)
	return math.tointeger(tonumber(text)) or -1;
end

-- A position as text: JSON, in which a storage driver may keep it, has no integers of 64 bits.
local function text_of(position)
	return position >= 0 and ("%d"):format(position) or nil;
end

-- Gives what is stored of an owner:
--   known: whether `activated` and the preferences are all that there is
--   activated, default, always, never: as in a state, but lists of JIDs
--   position: under which the preferences came into force
--   pending: the position of the newest request in flight
--   doubt: the position of the newest request whose outcome was never told
--   generation: the store's when it was written
function preferences_mt:load(owner)
	local record, err = self.store:get(jid_node(owner));
	if err then module:log("error", "Preferences of %s cannot be read: %s", owner, err); end
	record = record or {};
	if record.generation ~= self.generation then
		record = { generation = self.generation, pending = record.pending, doubt = record.doubt };
	end
	-- What was in flight when Prosody ended may have been carried out.
	if record.pending and not self.in_flight[owner] then
		record.known, record.doubt, record.pending = false, record.pending, nil;
	end
	return record;
end

-- Keeps the state that follows from a record in memory.
function preferences_mt:remember(owner, record)
	local state;
	if record.known and not self.in_flight[owner] then
		state = state_of(record);
	else
		-- A request that was given up may still be carried out for a while.
		state = { known = false, ask_after = record.doubt and self.now() + self.grace or 0, bytes = 0 };
	end
	self.cache:set(owner, state);
	return state;
end

-- Gives true, or nil and the reason.
function preferences_mt:save(owner, record)
	self.inquiries:close(owner);
	self:remember(owner, record);
	local ok, err = self.store:set(jid_node(owner), record);
	if not ok then module:log("error", "Preferences of %s cannot be stored: %s", owner, err); end
	return ok, err;
end

-- Gives the state of an owner's archive for messages from now on, or nil if it is not known.
function preferences_mt:get(owner)
	local state = self.cache:get(owner) or self:remember(owner, self:load(owner));
	if state.known then return state; end
	-- The answer to a request in flight decides.
	if self.in_flight[owner] then return nil; end
	local delay = state.ask_after - self.now();
	self.inquiries:open(owner, delay > 0 and delay or nil);
end

function preferences_mt:learn(owner, answer)
	self:save(owner, {
		known = true, activated = answer.activated;
		default = answer.default, always = answer.always, never = answer.never;
		position = text_of(answer.position or -1), generation = self.generation;
	});
end

-- Whether a request for the archive may be the first one that counts (smart archiving).
function preferences_mt:may_activate(owner)
	if not self.smart then return false; end
	local state = self.cache:get(owner) or self:remember(owner, self:load(owner));
	return not (state.known and state.activated);
end

-- Gives the position of an owner's newest request in flight; -1 if there is none.
function preferences_mt:newest_in_flight(owner)
	local newest = -1;
	for position in pairs(self.in_flight[owner] or {}) do newest = math.max(newest, position); end
	return newest;
end

-- Puts an owner's state in doubt, before a request that may change it leaves for the query component.
--   change: "preferences" or "activation"
-- Gives whether its outcome has to be `settled`; or nil and the reason: then the request has to be refused.
function preferences_mt:pending(owner, position, change)
	if change == "activation" and not self:may_activate(owner) then return false; end
	local record, flight = self:load(owner), self.in_flight[owner] or {};
	self.in_flight[owner], flight[position] = flight, true;
	record.pending = text_of(self:newest_in_flight(owner));
	local ok, err = self:save(owner, record);
	if ok then return true; end
	self:settled(owner, position, false);
	return nil, err;
end

-- Of a state, only what the request itself has changed is as new as the request.
local function apply(record, position, state)
	record.activated = record.activated or state.activated;
	if state.position ~= position or position <= position_of(record.position) or not state.default then return; end
	record.default, record.always, record.never = state.default, state.always, state.never;
	record.position = text_of(position);
	if position > position_of(record.doubt) then record.known, record.doubt = true, nil; end
end

-- Takes note of the outcome of a request that was `pending`, before its answer goes to the client.
--   state: of the archive behind the request, as `ask` gives it; false if the request was refused and changed nothing;
--     nil if its outcome is not known
function preferences_mt:settled(owner, position, state)
	local flight = self.in_flight[owner];
	if not (flight and flight[position]) then return; end
	local record = self:load(owner);
	flight[position] = nil;
	if not next(flight) then self.in_flight[owner] = nil; end
	record.pending = text_of(self:newest_in_flight(owner));
	if state then
		apply(record, position, state);
	elseif state == nil then
		record.known, record.doubt = false, text_of(math.max(position, position_of(record.doubt)));
	end
	self:save(owner, record);
	self:get(owner);
end

-- Ends the state of an account that was removed: whoever has its name later begins anew.
function preferences_mt:reset(owner)
	self.in_flight[owner] = nil;
	self.inquiries:close(owner);
	self.cache:set(owner, removed);
	local ok, err = self.store:set(jid_node(owner), nil);
	if not ok then module:log("error", "Preferences of %s cannot be removed: %s", owner, err); end
end

-- Called with each erasure of an archive.
--   account: whether its account is removed
function preferences_mt:erased(owner, account)
	if account then self:reset(owner); end
end

-- Has the query component asked for an owner again, after something else changed the state of the archive.
function preferences_mt:refresh(owner)
	local record = self:load(owner);
	record.known = false;
	local ok, err = self:save(owner, record);
	self:get(owner);
	return ok, err;
end

-- The same for all owners.
function preferences_mt:refresh_all()
	self.generation = self.generation + 1;
	self.inquiries:close_all();
	self.cache:clear();
	local ok, err = self.store:set(nil, { generation = self.generation });
	self:prepare_sessions();
	return ok, err;
end

-- Has the state at hand before an account's first message.
function preferences_mt:prepare(owner)
	if self:get(owner) == removed then
		self:save(owner, { known = true, activated = false, generation = self.generation });
	end
end

-- The same for the accounts that have a session.
function preferences_mt:prepare_sessions()
	local users = it.to_array(it.keys(prosody.hosts[module.host].sessions));
	module:add_timer(0, function ()
		for _ = 1, SLICE do
			local user = table.remove(users);
			if not user then return nil; end
			self:prepare(user.."@"..module.host);
		end
		return INTERVAL;
	end);
end

-- Asks at once for what is not known, after a query component has connected.
function preferences_mt:resume()
	self.inquiries:resume();
end

function preferences_mt:start()
	local function prepare(user) self:prepare(user.."@"..module.host); end
	-- The answer has the time until a resource is bound, which a session may do without the first event.
	module:hook("authentication-success", function (event) prepare(event.session.username); end);
	module:hook("resource-bind", function (event) prepare(event.session.username); end);
	module:hook("user-registered", function (event) prepare(event.username); end);
	self:prepare_sessions();
end

--   store: Prosody's, of type keyval
--   ask: as in inquiries.lib.lua; the answer is the state as of the question: { activated (boolean), default (nil
--     without preferences), always, never (lists of JIDs), position (of the last change) }
--   options: smart (boolean), query_timeout (seconds)
local function new(store, ask, now, options)
	local self = setmetatable({
		store = store, now = now, smart = options.smart, grace = options.query_timeout;
		generation = (store:get(nil) or {}).generation or 0, in_flight = {};
		cache = caches.new(CACHE_LIMIT, function (state) return state.bytes; end);
	}, preferences_mt);
	local function learn(owner, answer) self:learn(owner, answer); end
	local function add_timer(seconds, call) module:add_timer(seconds, call); end
	self.inquiries = inquiries.new(ask, learn, add_timer);
	return self;
end

return { new = new };
