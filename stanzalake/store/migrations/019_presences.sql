-- Presences of a room's occupants are no messages.
{bodies}
