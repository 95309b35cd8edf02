-- The command by which users choose for how long their own archive is kept (XEP-0050). The server's retention stays the
-- upper bound: whichever period is shorter counts.

local async = require "util.async";
local dataforms = require "util.dataforms";
local jid_bare = require "util.jid".bare;

local new_command = module:require "adhoc".new;

local NODE = "urn:stanzalake:retention";
local DAY = 86400;
local SERVER, SAME = "server", "same";
-- Days to choose from.
local CHOICES = { 1, 7, 30, 90, 180, 365, 730 };

local layout = dataforms.new {
	title = "Message archive";
	instructions = "Messages that are older are removed from your archive on this server, now and from now on. They do "
		.."not come back. The archives of the people you wrote with keep theirs.";
	{ name = "FORM_TYPE", type = "hidden", value = NODE };
	{ name = "days", type = "list-single", label = "Keep messages for", required = true };
};

local function label_of(days)
	return days == 1 and "1 day" or ("%d days"):format(days);
end

-- Returns a period as text; seconds that are no whole days are of an operator's choice.
local function text_of(seconds)
	return seconds % DAY == 0 and label_of(seconds // DAY) or ("%d seconds"):format(seconds);
end

-- Returns the seconds of a choice, 0 for none of the user's own; nil for what is not offered.
local function seconds_of(choice)
	if choice == SERVER then return 0; end
	for _, days in ipairs(CHOICES) do
		if choice == ("%d"):format(days) then return days * DAY; end
	end
end

-- Returns the choices within the server's retention.
--   state: with own_retention and host_retention, in seconds; nil for none
local function options_of(state)
	local host, own = state.host_retention, state.own_retention;
	local is_listed = own == nil;
	local options = { {
		value = SERVER, label = host and ("as long as the server does: "..text_of(host)) or "without end", default = not own;
	} };
	for _, days in ipairs(CHOICES) do
		if not host or days * DAY < host then
			local is_own = own == days * DAY;
			table.insert(options, { value = ("%d"):format(days), label = label_of(days), default = is_own });
			is_listed = is_listed or is_own;
		end
	end
	if not is_listed then
		table.insert(options, { value = SAME, label = "as now: "..text_of(own), default = true });
	end
	return options;
end

local function refusal(kind, condition, text)
	return { status = "error", error = { type = kind, condition = condition, text = text } };
end

local function busy()
	return refusal("wait", "resource-constraint", "The archive cannot be asked now: try again later");
end

-- Returns the state of an owner's archive, or nil. The session's other stanzas wait meanwhile.
local function state_of(owner, ask)
	if not async.ready() then return nil; end
	local wait, done = async.waiter();
	local state;
	ask(owner, function (answer)
		state = answer;
		done();
	end);
	wait();
	return state;
end

local function show(owner, ask)
	local state = state_of(owner, ask);
	if not state then return busy(); end
	return {
		status = "executing", actions = { "complete", default = "complete" };
		form = { layout = layout, values = { days = options_of(state) } };
	};
end

local function choose(owner, form, by, requests)
	local choice = (layout:data(form) or {}).days;
	if choice == SAME then return { status = "completed", info = "Nothing is changed." }; end
	local seconds = seconds_of(choice);
	if not seconds then return refusal("modify", "bad-request", "That is none of the form's choices"); end
	if not requests:write { type = "retention", owner = owner, seconds = seconds, by = by } then return busy(); end
	return { status = "completed", info = seconds == 0 and "Messages are kept as long as the server keeps them."
		or ("Messages are kept for %s, unless the server keeps them for less."):format(text_of(seconds)) };
end

-- Whether the user does not want to choose after all, by the command or by its form (XEP-0004 §3.1).
local function is_cancelled(data)
	return data.action == "cancel" or data.form ~= nil and data.form.attr.type == "cancel";
end

-- Offers the command to the host's accounts, each for the archive of the session that asks.
--   requests: takes the choice (requests.lib.lua)
--   ask: gets an owner and a function, see ask_state in forwarding.lib.lua
local function offer(requests, ask)
	local function handle(_, data)
		local owner = jid_bare(data.from);
		if is_cancelled(data) then return { status = "canceled" }; end
		if data.form then return choose(owner, data.form, data.from, requests); end
		return show(owner, ask);
	end
	module:depends("adhoc");
	module:provides("adhoc", new_command("Keep archived messages for …", NODE, handle, "local_user"));
end

return { offer = offer };
