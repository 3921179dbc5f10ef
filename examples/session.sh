#!/bin/sh
# A session with curl: users, a quote, an order under an idempotency key, the same request again, the order, its facts.
#
#     examples/session.sh http://localhost:4000
#
# Needs curl. What it reads from JSON it cuts out with sed; a program of yours will have something better.
set -eu

API="${1:-http://localhost:4000}/api"

# The id of the first thing in an answer.
first_id() { printf '%s' "$1" | sed 's/^{"data":\[*{"id":"\([^"]*\)".*/\1/'; }

say() { printf '\n# %s\n' "$1"; }

say "Users"
USERS=$(curl -sS --fail "$API/users")
echo "$USERS"
USER_ID=$(first_id "$USERS")

say "A firm quote, good for five minutes"
QUOTE=$(curl -sS --fail -X POST "$API/quotes")
echo "$QUOTE"
QUOTE_ID=$(first_id "$QUOTE")

say "An order. The key makes it safe to send this very request again, whatever happened to the first"
KEY="session-$$-$(date +%s)"
BODY="{\"quote_id\": \"$QUOTE_ID\", \"user_id\": \"$USER_ID\", \"from_amount\": \"12.50\"}"
ORDER=$(curl -sS --fail -H "Idempotency-Key: $KEY" -d "$BODY" "$API/orders")
echo "$ORDER"
ORDER_ID=$(first_id "$ORDER")

say "The same again: the same answer, not a second order"
AGAIN=$(curl -sS --fail -H "Idempotency-Key: $KEY" -d "$BODY" "$API/orders")
[ "$AGAIN" = "$ORDER" ] && echo "the same"

say "Another order on the quote is refused, and the first one named"
curl -sS -d "$BODY" "$API/orders"
echo

say "The order now. Looking costs no call to the exchange"
curl -sS --fail "$API/orders/$ORDER_ID"
echo

say "What has happened to it, fact by fact"
curl -sS --fail "$API/events?after=0&follow=false&user=$USER_ID" | grep "$ORDER_ID"
