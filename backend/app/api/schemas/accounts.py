"""Accounts, logins and API keys on the wire."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    SecretStr,
    StrictBool,
    model_validator,
)

from app.api.schemas.values import AwareMoment, Numeric
from app.core.config import Settings
from app.core.security import MAX_PASSWORD_BYTES
from app.core.validation import is_text
from app.db.models import ApiKey, User
from app.services.accounts import MIN_PASSWORD
from app.services.identity import Scope
from app.services.limits import limits_of
from app.services.logins import Tokens

Role = Literal["user", "admin"]
MOST = 2_147_483_647  # that a column holds
# Only described: the use case says in its own words what is wrong with a password.
LENGTH: dict[str, Any] = {"minLength": MIN_PASSWORD, "maxLength": MAX_PASSWORD_BYTES}
NewPassword = Annotated[
    SecretStr,
    Field(examples=["correct horse battery staple"], description="8 characters or more", json_schema_extra=LENGTH),
]


def _without_a_name(value: object) -> object:
    if isinstance(value, str) and "<" in value:  # `Ada <ada@example.com>`
        raise ValueError("the address alone is expected, without a name")
    return value


class Registration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Annotated[EmailStr, BeforeValidator(_without_a_name)] = Field(examples=["ada@example.com"], max_length=254)
    password: NewPassword


class AccountLimitsOut(BaseModel):
    """What the account may have; 0: any number."""

    requests_per_minute: int
    reads_per_minute: int
    megapixels_per_minute: int
    active_tasks: int
    images_per_month: int


class Account(BaseModel):
    id: UUID
    email: str
    role: Role
    created_at: datetime
    limits: AccountLimitsOut

    @classmethod
    def of(cls, user: User, settings: Settings) -> "Account":
        limits = AccountLimitsOut.model_validate(limits_of(user, settings), from_attributes=True)
        return cls.model_validate(
            {"id": user.id, "email": user.email, "role": user.role, "created_at": user.created_at, "limits": limits}
        )


class Token(BaseModel):
    access_token: str
    refresh_token: str = Field(description="Good for fresh tokens, once.")
    token_type: str = "bearer"  # noqa: S105 (the name of the scheme)
    expires_in: int = Field(description="Seconds that the access token holds.", examples=[1800])

    @classmethod
    def of(cls, tokens: Tokens) -> "Token":
        return cls(access_token=tokens.access, refresh_token=tokens.refresh, expires_in=tokens.expires_in)


class Refresh(BaseModel):
    model_config = ConfigDict(extra="forbid")

    refresh_token: SecretStr


class PasswordChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    current_password: SecretStr
    new_password: NewPassword


def _printable(value: str) -> str:
    if not (is_text(value) and value.isprintable() and value.strip()):
        raise ValueError("a name of printable characters is expected")
    return value.strip()


class NewApiKey(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100, examples=["shop"]), AfterValidator(_printable)]
    scopes: list[Scope] = Field(
        [Scope.READ, Scope.WRITE],
        min_length=1,
        max_length=len(Scope),
        description="`admin` and `metrics` only on an administrator's keys.",
    )
    expires_in_days: Annotated[int, Field(ge=1, le=3650), Numeric] | None = None
    expires_at: AwareMoment | None = Field(None, description="Instead of `expires_in_days`.")

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.expires_in_days is not None and self.expires_at is not None:
            raise ValueError("expires_in_days and expires_at: only one of them")
        return self

    @property
    def expires(self) -> datetime | timedelta | None:
        return self.expires_at if self.expires_in_days is None else timedelta(days=self.expires_in_days)


class ApiKeyOut(BaseModel):
    id: UUID
    prefix: str = Field(description="How the key begins.", examples=["qbg_4f7Kq2Zx"])
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls.model_validate(key, from_attributes=True)


class MadeApiKey(ApiKeyOut):
    key: str = Field("", description="The whole key: shown here, and never again.")


class ApiKeyList(BaseModel):
    api_keys: list[ApiKeyOut]


class AccountOfOthers(BaseModel):
    """An account as administrators see it. A limit that is null is the server's own."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    role: Role
    is_active: bool
    created_at: datetime
    requests_per_minute: int | None
    reads_per_minute: int | None
    megapixels_per_minute: int | None
    active_tasks: int | None
    images_per_month: int | None


class AccountPage(BaseModel):
    users: list[AccountOfOthers]
    next_cursor: str | None = Field(description="Give it back as `cursor` for the next page; null on the last one.")


Limit = Annotated[
    Annotated[int, Field(ge=0, le=MOST), Numeric] | None, Field(description="null: the server's own; 0: none.")
]


class AccountChange(BaseModel):
    """What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    is_active: StrictBool = Field(True, description="false ends every login and refuses every key, at once.")
    role: Role = "user"
    requests_per_minute: Limit = None
    reads_per_minute: Limit = None
    megapixels_per_minute: Limit = None
    active_tasks: Limit = None
    images_per_month: Limit = None
