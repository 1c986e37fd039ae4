"""The JSON of the contract: its only definition. Requests are decoded as these types, answers and messages encoded from
them, and `/openapi.json` and `/asyncapi.json` take every field's schema and description from here."""
