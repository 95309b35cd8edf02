-- Positions ahead of the clock, left by a clock that was wrong. The sequence of their owners goes on behind them, and
-- everybody else's goes back to the clock (docs/operating.md, Positions ahead of the clock).

local event = module:require "event";

local SEQUENCE_BITS = 16;

local function path_of(directory)
	return directory.."/ahead";
end

-- Returns the last position ahead of the clock, and its owners as keys; nil if there are none.
local function read(directory)
	local file = io.open(path_of(directory), "rb");
	if not file then return nil; end
	local last, owners = math.tointeger(tonumber(file:read("l"))) or 0, {};
	for owner in file:lines() do owners[owner] = true; end
	file:close();
	return { last = last, owners = owners };
end

-- Returns true, or nil and the reason.
local function write(directory, ahead)
	local path = path_of(directory);
	local file, err = io.open(path.."~", "wb");
	if not file then return nil, err; end
	local lines = { ("%d\n"):format(ahead.last) };
	for owner in pairs(ahead.owners) do lines[#lines + 1] = owner.."\n"; end
	local ok, write_err = file:write(table.concat(lines));
	local closed, close_err = file:close();
	if not (ok and closed) then return nil, write_err or close_err; end
	return os.rename(path.."~", path);
end

-- Returns the last position of the host's sequence; and that of the owners ahead, with these, if there are any.
local function recover(journal)
	local last = math.max(journal.last_position, journal.last_line and event.position_of(journal.last_line) or 0);
	local ahead = read(journal.directory);
	if not ahead then return last; end
	last, ahead.last = journal.last_position, math.max(ahead.last, journal.last_ahead);
	for line in journal:newest_lines() do
		local position, owner = event.position_of(line), event.owner_of(line);
		if not position then
			module:log("debug", "A line of the journal has no position");
		elseif ahead.owners[owner] then
			ahead.last = math.max(ahead.last, position);
		else
			last = math.max(last, position);
		end
	end
	return last, ahead;
end

-- Puts the sequence of a host back to the clock. Prosody must not run, and everything must be acknowledged.
--   owners: who have positions ahead of the clock, as keys
--   now: unix time in seconds
-- Returns true, or nil and the reason.
local function rewind(journal, owners, now)
	local last, ahead = recover(journal);
	local clock = math.floor(now * 1000) << SEQUENCE_BITS;
	if last <= clock then return nil, "no position is ahead of the clock"; end
	last = math.max(last, ahead and ahead.last or 0);
	for owner in pairs(ahead and ahead.owners or {}) do owners[owner] = true; end
	-- In this order: until the last step the old sequence goes on.
	local ok, err = write(journal.directory, { last = last, owners = owners });
	if ok then ok, err = journal:save(clock, last); end
	if not ok then return nil, err; end
	journal:remove_segments();
	return true;
end

return { recover = recover, rewind = rewind };
