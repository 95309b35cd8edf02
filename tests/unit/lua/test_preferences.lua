-- Tests of the owners' states as the tap knows them. Argument: the module's directory.

local MODULE = ...;

local serialize = require "util.json".encode;
local deserialize = require "util.json".decode;

local OWNER = "juliet@capulet.lit";
local BASE = 117650718720000000;
local GRACE = 30;

local logged, timers;
local module = { host = "capulet.lit" };
local prosody = { hosts = { ["capulet.lit"] = { sessions = {} } } };

local function part(name)
	local env = setmetatable({ module = module, prosody = prosody }, { __index = _G });
	return assert(loadfile(MODULE.."/"..name..".lib.lua", "t", env))();
end

function module:require(name) return part(name); end -- luacheck: ignore 212/self
function module:log(level, text, ...) -- luacheck: ignore 212/self
	table.insert(logged, level..": "..text:format(...));
end

function module:add_timer(seconds, call) -- luacheck: ignore 212/self
	table.insert(timers, { seconds = seconds, call = call });
end

-- Has time pass for the timers that were set.
local function fire(seconds)
	local due = timers;
	timers = {};
	for _, timer in ipairs(due) do
		timer.seconds = timer.seconds - seconds;
		if timer.seconds <= 0 then timer.call(); else table.insert(timers, timer); end
	end
end

local caches, preferences = part "cache", part "preferences";

local function equal(found, expected)
	if found ~= expected then
		error(("expected %s, found %s"):format(tostring(expected), tostring(found)), 2);
	end
end

-- Prosody's storage: what it keeps is text. A broken one refuses to write.
local function new_store()
	local store = { values = {} };
	function store:get(user)
		if self.unreadable then return nil, "no such disk"; end
		local text = self.values[user or ""];
		return text and deserialize(text);
	end
	function store:set(user, value)
		if self.broken then return nil, "disk full"; end
		self.values[user or ""] = value and serialize(value);
		return true;
	end
	return store;
end

-- The tap's knowledge in one run of Prosody, on a clock of its own, and the questions that it asked.
local function start(store, smart)
	local run = { time = 1000, questions = {} };
	local function ask(owner, callback) table.insert(run.questions, { owner = owner, answer = callback }); end
	run.known = preferences.new(store, ask, function () return run.time; end, { smart = smart, query_timeout = GRACE });
	return run;
end

local EMPTY = { activated = false, always = {}, never = {}, position = 0 };

local function chosen(position, default, always, never)
	return { activated = true, default = default, always = always or {}, never = never or {}, position = position };
end

-- A run in which the owner's state is known to be empty.
local function start_known(store, smart)
	local run = start(store, smart);
	run.known:get(OWNER);
	run.questions[1].answer(EMPTY);
	return run;
end

local function default_of(run)
	local state = run.known:get(OWNER);
	return state and (state.default or "none");
end

local tests = {};

function tests.an_unknown_owner_is_asked_for_once_and_unknown_until_the_answer()
	local run = start(new_store());
	for _ = 1, 3 do equal(run.known:get(OWNER), nil); end
	equal(#run.questions, 1);
	equal(run.questions[1].owner, OWNER);
	run.questions[1].answer(chosen(BASE, "roster", { "romeo@montague.lit" }));
	local state = run.known:get(OWNER);
	equal(state.default, "roster");
	equal(state.always["romeo@montague.lit"], true);
	equal(state.never["romeo@montague.lit"], nil);
	equal(#run.questions, 1);
end

function tests.what_is_known_outlasts_prosody()
	local store = new_store();
	start_known(store).known:get(OWNER);
	local run = start(store);
	equal(run.known:get(OWNER).activated, false);
	equal(#run.questions, 0);
end

function tests.without_an_answer_an_owner_is_asked_for_again_later()
	local run = start(new_store());
	run.known:get(OWNER);
	run.questions[1].answer(nil);
	equal(#run.questions, 1);
	for count, pause in ipairs { 0.5, 1, 2, 4, 8, 10, 10 } do
		fire(pause / 2);
		equal(#run.questions, count);
		fire(pause / 2);
		equal(#run.questions, count + 1);
		run.questions[count + 1].answer(nil, "timeout");
	end
	fire(10);
	run.questions[9].answer(EMPTY);
	equal(default_of(run), "none");
	fire(100);
	equal(#run.questions, 9);
end

function tests.whoever_has_no_answer_is_asked_for_as_soon_as_a_component_connects()
	local run = start(new_store());
	for _, owner in ipairs { OWNER, "nurse@capulet.lit" } do run.known:get(owner); end
	run.questions[1].answer(nil, "away");
	run.questions[2].answer(nil, "timeout");
	run.known:get("tybalt@capulet.lit");
	fire(100);
	equal(#run.questions, 2);
	run.known:resume();
	equal(#run.questions, 5);
	for number = 3, 5 do run.questions[number].answer(EMPTY); end
	equal(default_of(run), "none");
end

function tests.a_question_whose_component_is_gone_goes_to_another_one()
	local run = start(new_store());
	run.known:get(OWNER);
	run.questions[1].answer(nil, "gone");
	equal(#run.questions, 2);
	run.questions[2].answer(EMPTY);
	equal(default_of(run), "none");
end

function tests.questions_wait_their_turn_and_new_ones_before_those_that_failed()
	local run = start(new_store());
	for number = 1, 200 do run.known:get(number.."@capulet.lit"); end
	equal(#run.questions, 64);
	for number = 1, 64 do run.questions[number].answer(nil, "timeout"); end
	equal(#run.questions, 128);
	fire(0.5);
	run.known:get(OWNER);
	for number = 65, 128 do run.questions[number].answer(EMPTY); end
	equal(run.questions[192].owner, "192@capulet.lit");
	for number = 129, 137 do run.questions[number].answer(EMPTY); end
	equal(run.questions[200].owner, "200@capulet.lit");
	equal(run.questions[201].owner, OWNER);
	equal(#run.questions, 201);
	run.questions[138].answer(EMPTY);
	equal(run.questions[202].owner, "1@capulet.lit");
end

function tests.an_answer_to_a_question_of_the_past_is_left_aside()
	local run = start(new_store());
	run.known:get(OWNER);
	run.known:pending(OWNER, BASE, "preferences");
	run.known:settled(OWNER, BASE, chosen(BASE, "never"));
	run.questions[1].answer(EMPTY);
	equal(default_of(run), "never");
end

function tests.owners_that_cannot_be_asked_for_yet_are_bounded_in_bytes()
	local run = start(new_store());
	run.known:get(OWNER);
	run.questions[1].answer(nil, "away");
	for number = 1, 2000 do run.known:get(number..("x"):rep(1000).."@capulet.lit"); end
	assert(run.known.inquiries.bytes <= 1024 * 1024);
	run.known:resume();
	for _ = 1, 3000 do
		local question = table.remove(run.questions);
		if not question then break; end
		question.answer(EMPTY);
	end
	equal(run.known.inquiries.bytes, 0);
end

function tests.a_state_is_in_doubt_while_a_request_is_in_flight()
	local run = start_known(new_store());
	assert(run.known:pending(OWNER, BASE, "preferences"));
	equal(default_of(run), nil);
	run.known:settled(OWNER, BASE, chosen(BASE, "never"));
	equal(default_of(run), "never");
	equal(#run.questions, 1);
end

function tests.a_refused_request_changes_nothing()
	local run = start_known(new_store());
	run.known:pending(OWNER, BASE, "preferences");
	run.known:settled(OWNER, BASE, false);
	equal(default_of(run), "none");
end

function tests.of_two_requests_the_later_one_counts_whatever_the_order_of_their_answers()
	for _, order in ipairs { { 1, 2 }, { 2, 1 } } do
		local run, wishes = start_known(new_store()), { "always", "never" };
		for number = 1, 2 do run.known:pending(OWNER, BASE + number, "preferences"); end
		for count, number in ipairs(order) do
			run.known:settled(OWNER, BASE + number, chosen(BASE + number, wishes[number]));
			equal(default_of(run), count == 2 and "never" or nil);
		end
	end
end

function tests.after_a_request_of_unknown_outcome_an_owner_is_asked_for_once_it_cannot_be_carried_out_any_more()
	local run = start_known(new_store());
	run.known:pending(OWNER, BASE, "preferences");
	run.known:settled(OWNER, BASE, nil);
	equal(default_of(run), nil);
	run.known:resume();
	fire(GRACE - 1);
	equal(#run.questions, 1);
	fire(1);
	equal(default_of(run), nil);
	run.questions[2].answer(chosen(BASE, "always"));
	equal(default_of(run), "always");
end

function tests.a_later_choice_ends_a_doubt_and_an_earlier_one_does_not()
	local run = start_known(new_store());
	for number = 1, 3 do run.known:pending(OWNER, BASE + number, "preferences"); end
	run.known:settled(OWNER, BASE + 2, nil);
	run.known:settled(OWNER, BASE + 1, chosen(BASE + 1, "never"));
	run.known:settled(OWNER, BASE + 3, false);
	equal(default_of(run), nil);
	run.known:pending(OWNER, BASE + 4, "preferences");
	run.known:settled(OWNER, BASE + 4, chosen(BASE + 4, "always"));
	equal(default_of(run), "always");
end

function tests.a_crash_leaves_a_request_in_flight_in_doubt()
	local store = new_store();
	start_known(store).known:pending(OWNER, BASE, "preferences");
	local run = start(store);
	equal(default_of(run), nil);
	equal(#run.questions, 0);
	fire(GRACE);
	run.questions[1].answer(chosen(BASE, "never"));
	equal(default_of(run), "never");
	equal(default_of(start(store)), "never");
end

function tests.an_answer_that_was_overtaken_does_not_count()
	local run = start(new_store());
	run.known:get(OWNER);
	run.known:pending(OWNER, BASE, "preferences");
	run.questions[1].answer(EMPTY);
	equal(default_of(run), nil);
	run.known:settled(OWNER, BASE, chosen(BASE, "always"));
	equal(default_of(run), "always");
end

function tests.a_request_whose_mark_cannot_be_stored_is_refused()
	local store = new_store();
	local run = start_known(store);
	store.broken = true;
	local ok, reason = run.known:pending(OWNER, BASE, "preferences");
	equal(ok, nil);
	equal(reason, "disk full");
	equal(default_of(run), "none");
end

function tests.an_outcome_that_cannot_be_stored_is_asked_for_after_a_crash()
	local store = new_store();
	local run = start_known(store);
	run.known:pending(OWNER, BASE, "preferences");
	store.broken = true;
	run.known:settled(OWNER, BASE, chosen(BASE, "never"));
	equal(default_of(run), "never");
	equal(default_of(start(store)), nil);
end

function tests.preferences_that_cannot_be_read_are_asked_for()
	local store = new_store();
	start_known(store);
	store.unreadable = true;
	local run = start(store);
	equal(default_of(run), nil);
	equal(#run.questions, 1);
end

function tests.a_removed_account_leaves_nothing_to_who_comes_after_it()
	local store = new_store();
	local run = start_known(store);
	run.known:pending(OWNER, BASE, "preferences");
	run.known:settled(OWNER, BASE, chosen(BASE, "always"));
	run.known:pending(OWNER, BASE + 1, "preferences");
	run.known:reset(OWNER);
	run.known:settled(OWNER, BASE + 1, chosen(BASE + 1, "never"));
	equal(default_of(run), "none");
	equal(store.values.juliet, nil);
	run.known:prepare(OWNER);
	run = start(store);
	equal(default_of(run), "none");
	equal(#run.questions, 0);
end

function tests.under_smart_archiving_the_first_request_begins_an_archive()
	local run = start_known(new_store(), true);
	equal(run.known:pending(OWNER, BASE, "activation"), true);
	equal(run.known:get(OWNER), nil);
	run.known:settled(OWNER, BASE, { activated = true, always = {}, never = {}, position = BASE });
	equal(run.known:get(OWNER).activated, true);
	equal(default_of(run), "none");
	equal(run.known:pending(OWNER, BASE + 1, "activation"), false);
	equal(default_of(run), "none");
end

function tests.without_smart_archiving_no_request_begins_one()
	local run = start_known(new_store());
	equal(run.known:pending(OWNER, BASE, "activation"), false);
	equal(default_of(run), "none");
end

function tests.a_page_tells_no_preferences()
	local run = start_known(new_store(), true);
	run.known:pending(OWNER, BASE + 1, "preferences");
	run.known:pending(OWNER, BASE + 2, "activation");
	run.known:settled(OWNER, BASE + 1, chosen(BASE + 1, "never"));
	run.known:settled(OWNER, BASE + 2, chosen(BASE, "always"));
	equal(default_of(run), "never");
end

function tests.a_refreshed_owner_is_asked_for_again()
	local store = new_store();
	local run = start_known(store);
	run.known:refresh(OWNER);
	equal(default_of(run), nil);
	run.questions[2].answer(chosen(BASE, "never"));
	equal(default_of(run), "never");
	equal(default_of(start(store)), "never");
end

function tests.all_owners_are_refreshed_also_after_a_restart()
	local store = new_store();
	local run = start_known(store);
	run.known:refresh_all();
	equal(default_of(run), nil);
	run = start(store);
	equal(default_of(run), nil);
	run.questions[1].answer(EMPTY);
	equal(default_of(run), "none");
	equal(default_of(start(store)), "none");
end

function tests.accounts_with_a_session_are_asked_for_in_slices()
	local run, sessions = start(new_store()), prosody.hosts["capulet.lit"].sessions;
	for number = 1, 50 do sessions["user"..number] = {}; end
	run.known:prepare_sessions();
	prosody.hosts["capulet.lit"].sessions = {};
	for _, asked in ipairs { 20, 40, 50 } do
		equal(timers[1].call() == nil, asked == 50);
		equal(#run.questions, asked);
	end
end

function tests.a_request_in_flight_outlasts_a_refresh()
	local store = new_store();
	local run = start_known(store);
	run.known:pending(OWNER, BASE, "preferences");
	run.known:refresh_all();
	equal(default_of(run), nil);
	equal(#run.questions, 1);
	run.known:settled(OWNER, BASE, chosen(BASE, "never"));
	equal(default_of(run), "never");
end

function tests.a_cache_stays_within_its_bytes_and_keeps_what_is_used()
	local cache = caches.new(10000, function (value) return #value; end);
	cache:set("used", "u");
	for number = 1, 1000 do
		cache:set("k"..number, ("v"):rep(100));
		equal(cache:get("used"), "u");
		local bytes = 0;
		for _, generation in ipairs { cache.newer, cache.older } do
			for key, value in pairs(generation) do bytes = bytes + 128 + #key + #value; end
		end
		assert(bytes <= 10000);
	end
	equal(cache:get("k1"), nil);
	equal(#cache:get("k1000"), 100);
end

local failed = 0;
for name, test in pairs(tests) do
	logged, timers = {}, {};
	local ok, err = xpcall(test, debug.traceback);
	if not ok then
		failed = failed + 1;
		print(name..": "..err);
	end
end
os.exit(failed == 0);
