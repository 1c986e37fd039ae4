"""Questions about logins in SQL, where the first row of each decides who asks."""

from msgspec.structs import asdict, replace
from sqlalchemy import select

from pairing_ws.accounts.login_hook import Question, State
from pairing_ws.accounts.ports import User
from pairing_ws.adapters.sql.executor import Conflict, Statement, Store, Transaction, read, single_write
from pairing_ws.adapters.sql.statements import USER, columns_of, first_of, param
from pairing_ws.adapters.sql.tables import login_questions, users

_SETTLED = ("state", "sealed", "kept_until")
_OF_A_TURN = ("asker", "session_id", "asked_at", *_SETTLED)
_OF_ORIGIN = login_questions.c.origin == param("login")
ACCOUNT = Statement(USER.where(users.c.id == param("account")))
QUESTION = Statement(select(*columns_of(Question, login_questions)).where(_OF_ORIGIN))
BEGIN = Statement(login_questions.insert())
BEGIN_NEXT = Statement(
    login_questions.update()
    .where(_OF_ORIGIN, login_questions.c.turn == param("before"))
    .values(turn=login_questions.c.turn + 1, **{name: param(f"its_{name}") for name in _OF_A_TURN})
)
SETTLE = Statement(
    login_questions.update()
    .where(_OF_ORIGIN, login_questions.c.turn == param("its_turn"))
    .values({name: param(f"its_{name}") for name in _SETTLED})
)


class SqlQuestions(Store):
    """See `accounts.login_hook.QuestionStore`."""

    @read
    def user(self, db: Transaction, user_id: str) -> User | None:
        return first_of(User, db.rows(ACCOUNT, account=user_id))

    @read
    def question(self, db: Transaction, origin: str) -> Question | None:
        found = first_of(Question, db.rows(QUESTION, login=origin))
        return None if found is None else replace(found, state=State(found.state))

    async def begin(self, question: Question) -> bool:
        try:
            return await (self._begin(question) if question.turn == 1 else self._begin_next(question))
        except Conflict:
            return False

    @single_write
    def _begin(self, db: Transaction, question: Question) -> bool:
        return db.change(BEGIN, **asdict(question)) == 1

    @single_write
    def _begin_next(self, db: Transaction, question: Question) -> bool:
        values = {f"its_{name}": getattr(question, name) for name in _OF_A_TURN}
        return db.change(BEGIN_NEXT, login=question.origin, before=question.turn - 1, **values) == 1

    @single_write
    def settle(self, db: Transaction, question: Question) -> None:
        values = {f"its_{name}": getattr(question, name) for name in (*_SETTLED, "turn")}
        db.change(SETTLE, login=question.origin, **values)
