"""Accounts on the wire."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, SecretStr

from app.db.models import User


class Registration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: EmailStr = Field(examples=["ada@example.com"], max_length=254)
    password: SecretStr = Field(examples=["correct horse battery staple"], description="8 characters or more")


class Account(BaseModel):
    id: UUID
    email: str
    role: str
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> "Account":
        return cls(id=user.id, email=user.email, role=user.role, created_at=user.created_at)


class Token(BaseModel):
    access_token: str
    token_type: str = "bearer"  # noqa: S105 (the name of the scheme)
    expires_in: int = Field(description="seconds", examples=[1800])
