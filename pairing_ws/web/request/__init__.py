"""What a request says: headers, query, body, cookies, credentials, the device that sent it, the client's address."""
