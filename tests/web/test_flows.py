"""Both flows over HTTP and sockets, on one process."""

from tests.support.client import Api, socket, told, until
from tests.support.servers import Server


async def test_a_new_device_shows_a_code_and_is_logged_in_by_the_one_that_scans_it(api: Api, server: Server) -> None:
    phone = await api.log_in_by_invite(server.invite())
    device = await api.new_pairing()
    async with device.socket() as connection:
        assert (await told(connection))["status"] == "pending"
        assert (await phone.claim(device.pairing)).json()["status"] == "scanned"
        assert (await told(connection))["status"] == "scanned"
        assert (await phone.approve(device.id)).json()["status"] == "approved"
        await until(connection, "approved")
        keys = (await device.log_in()).json()
        assert keys["user"]["username"] == "alice"
        await until(connection, "consumed")
        await connection.wait_closed()
        assert connection.close_code == 1000


async def test_a_logged_in_device_shows_a_code_and_lets_in_the_one_that_scans_it(api: Api, server: Server) -> None:
    phone = await api.log_in_by_invite(server.invite())
    shown = await phone.show_code()
    async with socket(server.ws_url, shown["id"], authKey=phone.keys["authKey"]) as connection:
        assert (await told(connection))["status"] == "pending"
        device = await api.join(shown)
        seen = await told(connection)
        assert seen["newDevice"]["reported"]["name"] == "Test device"
        await phone.approve(device.id)
        await until(connection, "approved")
        assert (await device.log_in()).status_code == 200
        assert (await until(connection, "consumed"))["newDevice"]["deviceId"]
